"""NVML conformance: what every implementation of Nvml must do, on a machine with at least one device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from squall.model.gpu_device import GpuUse
from squall.runtime.nvml import Nvml, NvmlError

Check = Callable[[Nvml], None]


def the_driver_has_a_version(nvml: Nvml) -> None:
    parts = nvml.version().split(".")
    assert len(parts) >= 2, "of a major and a minor number at least"
    assert all(part.isdigit() for part in parts)


def every_device_has_an_id_a_node_and_memory_of_its_own(nvml: Nvml) -> None:
    devices = nvml.devices()
    assert devices
    assert len({device.id for device in devices}) == len(devices)
    assert len({device.minor for device in devices}) == len(devices)
    for device in devices:
        assert device.id.startswith(("GPU-", "MIG-"))
        assert device.name
        assert device.type
        assert device.memory_bytes > 2**28
        assert device.minor >= 0


def devices_stay_as_they_are(nvml: Nvml) -> None:
    assert nvml.devices() == nvml.devices()


def what_is_used_lies_within_what_there_is(nvml: Nvml) -> None:
    for device in nvml.devices():
        used = nvml.use(device.id)
        assert isinstance(used, GpuUse)
        assert 0 <= used.used_bytes <= device.memory_bytes
        assert used.pids == tuple(sorted(used.pids))
        assert all(pid > 0 for pid in used.pids)


def a_device_that_is_not_there_is_refused_by_name(nvml: Nvml) -> None:
    try:
        nvml.use("GPU-00000000-0000-0000-0000-000000000000")
    except NvmlError as refused:
        assert str(refused).startswith("NVML: ")  # noqa: PT017 - no pytest where users run this
    else:
        raise AssertionError("it answered for a device that is not there")


CHECKS: Final[tuple[Check, ...]] = (
    the_driver_has_a_version,
    every_device_has_an_id_a_node_and_memory_of_its_own,
    devices_stay_as_they_are,
    what_is_used_lies_within_what_there_is,
    a_device_that_is_not_there_is_refused_by_name,
)
