"""Looks at a machine's GPUs: what the driver says of them, and where its files lie."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from squall.model.gpu_device import DeviceNode, Driver, GpuDevice
from squall.runtime.cdi import paths_in
from squall.runtime.gpu_plan import PROGRAMS, chosen_files, names_to_look_for, why_unusable
from squall.runtime.gpu_recording import RecordedNvml, read_recording
from squall.runtime.ld_cache import libraries_in
from squall.runtime.nvml import DriverNvml, Nvml, NvmlError

RECORDING_VARIABLE: Final = "SQUALL_GPU_RECORDING"
"""Names a recording that stands in for this machine's GPUs, in tests."""

_CUDA: Final = "libcuda.so.1"
_NVML: Final = "libnvidia-ml.so.1"
_CDI: Final = ("etc/cdi", "var/run/cdi", "run/cdi")
# Where installers put the driver's libraries when they do not tell the loader.
_FOLDERS: Final = (
    *("usr/local/nvidia/lib64", "usr/local/nvidia/lib", "usr/lib/wsl/lib"),
    *(
        "usr/lib/x86_64-linux-gnu/nvidia/current",
        "usr/lib/x86_64-linux-gnu/nvidia",
        "usr/lib/x86_64-linux-gnu",
    ),
    *(
        "usr/lib/aarch64-linux-gnu/nvidia/current",
        "usr/lib/aarch64-linux-gnu/nvidia",
        "usr/lib/aarch64-linux-gnu",
    ),
    *("usr/lib64/nvidia", "usr/lib64", "run/opengl-driver/lib", "opt/nvidia/lib64"),
)
_PROGRAM_FOLDERS: Final = ("usr/bin", "usr/local/nvidia/bin", "usr/lib/wsl/lib", "opt/nvidia/bin", "opt/bin")
# Where glibc looks without being told.
_DEFAULT_FOLDERS: Final = (
    *("lib64", "usr/lib64", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"),
    *("lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"),
)
_NODE: Final = re.compile(r"nvidia(\d{1,3}|ctl|-uvm|-uvm-tools)")
_ELF_64: Final = b"\x7fELF\x02"
_NVIDIA: Final = "0x10de"
_DISPLAYS: Final = ("0x0300", "0x0302", "0x0380")
_MOST_SPEC_BYTES: Final = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuLook:
    """What was found. refused: why no container can have a device, in a sentence; empty where one can.

    fitted: a device is in this machine, whether or not it can be used.
    """

    devices: tuple[GpuDevice, ...] = ()
    driver: Driver = Driver()
    refused: str = ""
    fitted: bool = False
    nvml: Nvml | None = None


def look_at_gpus(recording: str = "") -> GpuLook:
    """What this machine has, or the machine that a recording (its path) tells of. Takes up to a second where there are any."""
    try:
        if recording:
            recorded = read_recording(recording)
            nvml: Nvml = RecordedNvml(recorded)
            driver = _as_far_as_it_is_here(recorded.driver)
        else:
            nvml = DriverNvml(nvml_library())
            driver = look_at_driver(nvml.version())
        devices = nvml.devices()
    except (NvmlError, ValueError, OSError) as problem:
        fitted = is_fitted()
        why = str(problem) if fitted or recording else "no NVIDIA GPU is in this machine"
        return GpuLook(refused=why, fitted=fitted)
    # Of a recorded machine the files are not here, and the devices of its containers answer to nobody.
    refused = "" if recording else why_unusable(driver, devices)
    return GpuLook(devices=devices, driver=driver, refused=refused, fitted=True, nvml=nvml)


def look_at_driver(version: str, root: str = "/") -> Driver:
    """Where the files of the driver of this version lie: as a CDI spec says, else the loader, else in known folders.

    root: another root than this machine's, for tests; paths are given as they are below it.
    """
    cache = _loader_cache(root)
    found_by = ""
    paths: tuple[str, ...] = ()
    for name, candidates in (
        ("cdi", _from_cdi(root)),
        ("ldconfig", _from_cache(cache, version)),
        *((f"/{folder}", _from_folder(root, folder)) for folder in _FOLDERS),
    ):
        there = tuple(real for path in candidates if (real := _real(root, path)))
        libraries, _ = chosen_files(there, version)
        if any(library.name == _CUDA for library in libraries):
            found_by, paths = name, there
            break
    programs = (f"/{folder}/{name}" for folder in _PROGRAM_FOLDERS for name in PROGRAMS)
    paths = (*paths, *(real for path in programs if (real := _real(root, path, elf=False))))
    libraries, tools = chosen_files(paths, version)
    return Driver(
        version=version,
        nodes=tuple(_nodes(root)),
        libraries=libraries,
        programs=tools,
        found_by=found_by,
        loader_finds=_CUDA in cache or _is_by_default(root, _CUDA),
    )


def nvml_library(root: str = "/") -> str:
    """Where the driver's library that answers questions lies; empty where the loader finds it, or nothing does.

    root: as in look_at_driver.
    """
    if _NVML in _loader_cache(root) or _is_by_default(root, _NVML):
        return ""
    folders = (f"/{folder}/{_NVML}" for folder in _FOLDERS)
    named = (path for path in _from_cdi(root) if path.rpartition("/")[2].startswith("libnvidia-ml.so."))
    return next((real for path in (*named, *folders) if (real := _real(root, path))), "")


def is_fitted() -> bool:
    """Whether a device of the vendor is on this machine's bus, or its driver is loaded."""
    if os.path.exists("/proc/driver/nvidia/version"):
        return True
    with suppress(OSError):
        for name in os.listdir("/sys/bus/pci/devices"):
            about = f"/sys/bus/pci/devices/{name}"
            if _text(f"{about}/vendor").strip() == _NVIDIA and _text(f"{about}/class").startswith(_DISPLAYS):
                return True
    return False


def _as_far_as_it_is_here(driver: Driver) -> Driver:
    """The files of a recorded driver that this machine has too, and the nodes that can be made or are there."""
    return replace(
        driver,
        nodes=tuple(node for node in driver.nodes if os.geteuid() == 0 or os.path.exists(node.path)),
        libraries=tuple(library for library in driver.libraries if os.path.exists(library.path)),
        programs=tuple(program for program in driver.programs if os.path.exists(program.path)),
    )


def _is_by_default(root: str, name: str) -> bool:
    return any(os.path.exists(os.path.join(root, folder, name)) for folder in _DEFAULT_FOLDERS)


def _from_cdi(root: str) -> Iterator[str]:
    for folder in _CDI:
        base = os.path.join(root, folder)
        with suppress(OSError):
            for name in sorted(os.listdir(base)):
                if name.endswith((".json", ".yaml", ".yml")) and "nvidia" in name:
                    yield from paths_in(_text(os.path.join(base, name)))


def _loader_cache(root: str) -> dict[str, str]:
    try:
        with open(os.path.join(root, "etc/ld.so.cache"), "rb") as file:
            return libraries_in(file.read(), os.uname().machine)
    except OSError:
        return {}


def _from_cache(cache: dict[str, str], version: str) -> Iterator[str]:
    return (cache[name] for name in names_to_look_for(version) if name in cache)


def _from_folder(root: str, folder: str) -> Iterator[str]:
    with suppress(OSError):
        for name in sorted(os.listdir(os.path.join(root, folder))):
            if name.startswith("lib") and ".so" in name:
                yield f"/{folder}/{name}"


def _real(root: str, path: str, *, elf: bool = True) -> str:
    """The file that a path leads to, below the root; empty where there is none, or, with `elf`, no 64-bit library."""
    base = os.path.realpath(root)
    real = os.path.realpath(os.path.join(base, path.lstrip("/")))
    if not os.path.isfile(real) or not (base == "/" or real.startswith(f"{base}/")):
        return ""
    if elf and path.rpartition("/")[2] not in PROGRAMS:
        try:
            with open(real, "rb") as file:
                if file.read(len(_ELF_64)) != _ELF_64:
                    return ""
        except OSError:
            return ""
    return real if base == "/" else real[len(base) :]


def _nodes(root: str) -> Iterator[DeviceNode]:
    base = os.path.join(root, "dev")
    with suppress(OSError):
        for name in sorted(os.listdir(base)):
            path = os.path.join(base, name)
            if not _NODE.fullmatch(name) or not os.access(path, os.R_OK | os.W_OK):
                continue
            seen = os.stat(path)
            if stat.S_ISCHR(seen.st_mode):
                yield DeviceNode(
                    path=f"/dev/{name}", major=os.major(seen.st_rdev), minor=os.minor(seen.st_rdev)
                )


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_MOST_SPEC_BYTES)
    except OSError:
        return ""
