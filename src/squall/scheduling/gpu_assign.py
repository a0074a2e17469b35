"""GPU assignment: which devices a container gets, and whether one that it left is clean."""

from __future__ import annotations

from squall.model.gpu import Gpus
from squall.model.gpu_device import GpuDevice, GpuUse

# What a device's memory may differ by between two looks while nobody computes on it.
SLACK_BYTES = 128 * 2**20
# Of a device that was never seen clean, this part may be in use: a display takes some.
_UNKNOWN_PART = 8
GRACE_S = 5.0
_FIRST_LOOK_S = 0.05
_LAST_LOOK_S = 5.0


def assign(wish: Gpus, free: tuple[GpuDevice, ...]) -> tuple[GpuDevice, ...]:
    """The devices of one type that a container gets, those with the lowest numbers; none where there are too few.

    Neighbours in number are mostly neighbours on the board.
    """
    fitting = sorted((device for device in free if device.type == wish.type), key=lambda device: device.minor)
    return tuple(fitting[: wish.count]) if len(fitting) >= wish.count else ()


def left_behind(device: GpuDevice, before: GpuUse | None, now: GpuUse) -> str:
    """What still holds the device's memory, in a sentence; empty where nothing does.

    before: what was in use when it was last clean, None where that is not known.
    """
    strangers = sorted(set(now.pids) - set(before.pids if before is not None else ()))
    most = device.memory_bytes // _UNKNOWN_PART if before is None else before.used_bytes + SLACK_BYTES
    mib = now.used_bytes // 2**20
    if strangers:
        who = f"process {strangers[0]}" if len(strangers) == 1 else f"{len(strangers)} processes"
        return f"{who} of no container here {'holds' if len(strangers) == 1 else 'hold'} it, {mib} MiB in use"
    if now.used_bytes > most:
        return f"{mib} MiB of its memory are in use, by no process that the driver names"
    return ""


def next_look_s(waited_s: float) -> float:
    """Seconds until a device that is not clean is looked at again: soon at first, then ever more rarely."""
    return min(_LAST_LOOK_S, max(_FIRST_LOOK_S, waited_s / 2))
