"""GPU plan: which device nodes and which files of the driver a container gets for its devices. Pure.

Everything comes from fixed lists. Nothing of an image has a say in it, and no program is run for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from squall.model.gpu_device import CONTROL_NODES, DeviceNode, Driver, DriverFile, GpuDevice
from squall.runtime.spec import Mount

# A folder of our own: it can be made in any image, and hides nothing that an image has. LD_LIBRARY_PATH leads there, and
# not the loader's cache, which only a program of the image could renew.
LIBRARIES_AT: Final = "/squall/gpu/lib"
PROGRAMS_AT: Final = "/squall/gpu/bin"

# The libraries that programs and the driver's own libraries load, each by the name under which they ask for it: the
# stem, and what follows it. None: the driver's version.
_LIBRARIES: Final[dict[str, str | None]] = {
    "libcuda.so": "1",
    "libcudadebugger.so": "1",
    "libnvidia-ml.so": "1",
    "libnvidia-ptxjitcompiler.so": "1",
    "libnvidia-nvvm.so": "4",
    "libnvidia-nvvm70.so": "4",
    "libnvidia-gpucomp.so": None,
    "libnvidia-cfg.so": "1",
    "libnvidia-opencl.so": "1",
    "libnvidia-encode.so": "1",
    "libnvidia-opticalflow.so": "1",
    "libnvcuvid.so": "1",
}
PROGRAMS: Final = ("nvidia-smi",)
# Without these nothing can compute.
_NEEDED: Final = ("libcuda.so.1",)
_VERSIONED: Final = re.compile(r"(?P<stem>lib[\w-]+\.so)(?:\.(?P<version>[\d.]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What of GPUs one container gets."""

    nodes: tuple[DeviceNode, ...]
    mounts: tuple[Mount, ...]
    env: Mapping[str, str]
    proc: Mapping[str, str]


def chosen_files(
    candidates: Iterable[str], version: str
) -> tuple[tuple[DriverFile, ...], tuple[DriverFile, ...]]:
    """The libraries and the programs of the fixed list among `candidates`, paths of files that are there.

    version: the driver's; where a library is there in several versions, that one is taken.
    """
    libraries: dict[str, str] = {}
    programs: dict[str, str] = {}
    for path in candidates:
        name = path.rpartition("/")[2]
        if name in PROGRAMS:
            programs.setdefault(name, path)
            continue
        match = _VERSIONED.fullmatch(name)
        if match is None or match["stem"] not in _LIBRARIES:
            continue
        asked_as = f"{match['stem']}.{_LIBRARIES[match['stem']] or version}"
        if asked_as not in libraries or name.endswith(f".so.{version}"):
            libraries[asked_as] = path
    return _files(libraries), _files(programs)


def names_to_look_for(version: str) -> tuple[str, ...]:
    """The names of the fixed list, as a loader knows them."""
    return tuple(f"{stem}.{ending or version}" for stem, ending in _LIBRARIES.items())


def why_unusable(driver: Driver, devices: tuple[GpuDevice, ...]) -> str:
    """Why no container can be given these devices, in a sentence; empty where one can."""
    there = {node.path for node in driver.nodes}
    whole = [device for device in devices if not device.parted]
    missing = [path for path in ("/dev/nvidiactl", "/dev/nvidia-uvm") if path not in there]
    missing += [f"/dev/nvidia{device.minor}" for device in whole if f"/dev/nvidia{device.minor}" not in there]
    lacks = [name for name in _NEEDED if all(library.name != name for library in driver.libraries)]
    if not devices:
        return "the driver has no device"
    if not whole:
        return "every device is cut into parts (MIG), which are left alone"
    if missing:
        return (
            f"{', '.join(missing)} cannot be opened here: `nvidia-smi` makes what a driver has not made yet"
        )
    if lacks:
        return f"the driver's {', '.join(lacks)} was found in no CDI spec, not by the loader, and in no known folder"
    return ""


def plan_access(driver: Driver, devices: tuple[GpuDevice, ...], search_path: str = "") -> Access:
    """What a container gets that has `devices` alone. search_path: its LD_LIBRARY_PATH so far, which comes first."""
    own = {f"/dev/nvidia{device.minor}" for device in devices}
    wanted = own | set(CONTROL_NODES)
    libraries = [(f"{LIBRARIES_AT}/{library.name}", library.path) for library in driver.libraries]
    # Some programs ask for it without its number.
    libraries += [
        (f"{LIBRARIES_AT}/libcuda.so", library.path)
        for library in driver.libraries
        if library.name == "libcuda.so.1"
    ]
    programs = [(f"{PROGRAMS_AT}/{program.name}", program.path) for program in driver.programs]
    return Access(
        nodes=tuple(node for node in driver.nodes if node.path in wanted),
        mounts=tuple(Mount(source=source, target=target) for target, source in (*libraries, *programs)),
        env={
            **visible(devices),
            # Only its own nodes are there, so that numbers are counted from 0, and programs that read them find numbers.
            "CUDA_VISIBLE_DEVICES": ",".join(str(number) for number in range(len(devices))),
            "LD_LIBRARY_PATH": ":".join(part for part in (search_path, LIBRARIES_AT) if part),
        },
        # The library would otherwise make nodes of its own, with powers that it does not have in here.
        proc={
            "nvidia/params": "ModifyDeviceFiles: 0\n",
            "nvidia/version": f"NVRM version: {driver.version}\n",
        },
    )


def visible(devices: tuple[GpuDevice, ...]) -> dict[str, str]:
    """The variables that name the devices to libraries, by their ids, where other devices are to be seen too."""
    ids = ",".join(device.id for device in devices)
    return {"CUDA_VISIBLE_DEVICES": ids, "NVIDIA_VISIBLE_DEVICES": ids}


def _files(found: Mapping[str, str]) -> tuple[DriverFile, ...]:
    return tuple(DriverFile(name=name, path=path) for name, path in sorted(found.items()))
