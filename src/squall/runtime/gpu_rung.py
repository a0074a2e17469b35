"""The doctor's row about GPUs: what containers can be given here, why, and what would give more."""

from __future__ import annotations

from squall.model.gpu_device import counted
from squall.runtime.gpu_look import GpuLook
from squall.runtime.rungs import Rung


def gpu_rung(look: GpuLook) -> Rung:
    """What functions that ask for GPUs get on this machine."""
    feature = "GPUs"
    if not look.fitted:
        return Rung(feature=feature, rung="none", why=look.refused)
    if look.refused:
        return Rung(feature=feature, rung="none", why=look.refused, more=_more(look.refused))
    driver = look.driver
    has = ", ".join(f"{part.count} {part.type}" for part in counted(look.devices))
    found = f"libraries found by {driver.found_by}" if driver.libraries else "no library of it found"
    why = f"driver {driver.version}, {found}"
    parted = sum(device.parted for device in look.devices)
    if parted:
        why += f"; {parted} cut into parts (MIG), which are left alone"
    return Rung(feature=feature, rung=f"{has}, each for one container at a time", why=why)


def _more(refused: str) -> str:
    if "nvidia-ml-py" in refused:
        return "pip install 'squall[gpu]', or in a clone: python3 squall setup gpu"
    if "NVML: " in refused:
        return "install the driver of this device, and see that `nvidia-smi` answers"
    return (
        "see that `nvidia-smi` answers as this user, and that its libraries are those of the running driver"
    )
