"""NVML: what the driver says of its devices, through nvidia-ml-py, or why it cannot be asked."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from squall.model.gpu_device import GpuDevice, GpuUse
from squall.runtime import syscalls

_NO_LIBRARY = "the Python package nvidia-ml-py is not installed"


class NvmlError(Exception):
    """The driver could not be asked, or has no answer; str() says why in a sentence."""


class Nvml(Protocol):
    """What is asked of the driver. Each question raises NvmlError where there is no answer, and may take long."""

    def version(self) -> str:
        """The driver's version, "580.159.04"."""
        ...

    def devices(self) -> tuple[GpuDevice, ...]:
        """Every device, in the driver's order."""
        ...

    def use(self, device: str) -> GpuUse:
        """What uses the memory of the device with this id, now."""
        ...


class DriverNvml:
    """The driver of this machine. Raises NvmlError where it has no library or no answer.

    library: where libnvidia-ml.so.1 lies, for machines whose loader does not know.
    """

    def __init__(self, library: str = "") -> None:
        if library:
            try:
                syscalls.load_library(library)
            except OSError as problem:
                raise NvmlError(f"NVML: {library} cannot be loaded: {problem}") from problem
        try:
            self._library: Any = importlib.import_module("pynvml")
        except ImportError as missing:
            raise NvmlError(_NO_LIBRARY) from missing
        self._ask("nvmlInit")

    def version(self) -> str:
        """See Nvml."""
        return _text(self._ask("nvmlSystemGetDriverVersion"))

    def devices(self) -> tuple[GpuDevice, ...]:
        """See Nvml."""
        count = int(self._ask("nvmlDeviceGetCount"))
        return tuple(
            self._describe(self._ask("nvmlDeviceGetHandleByIndex", number)) for number in range(count)
        )

    def use(self, device: str) -> GpuUse:
        """See Nvml."""
        handle = self._ask("nvmlDeviceGetHandleByUUID", device)
        processes = self._ask("nvmlDeviceGetComputeRunningProcesses", handle)
        return GpuUse(
            used_bytes=int(self._memory(handle).used), pids=tuple(sorted(int(one.pid) for one in processes))
        )

    def _describe(self, handle: Any) -> GpuDevice:
        return GpuDevice(
            id=_text(self._ask("nvmlDeviceGetUUID", handle)),
            name=_text(self._ask("nvmlDeviceGetName", handle)),
            memory_bytes=int(self._ask("nvmlDeviceGetMemoryInfo", handle).total),
            minor=int(self._ask("nvmlDeviceGetMinorNumber", handle)),
            parted=self._is_parted(handle),
        )

    def _memory(self, handle: Any) -> Any:
        """The second form leaves out what the driver keeps for itself; drivers before 510 have the first only."""
        try:
            return self._ask("nvmlDeviceGetMemoryInfo", handle, self._library.nvmlMemory_v2)
        except (NvmlError, AttributeError):
            return self._ask("nvmlDeviceGetMemoryInfo", handle)

    def _is_parted(self, handle: Any) -> bool:
        try:
            current, _pending = self._ask("nvmlDeviceGetMigMode", handle)
        except NvmlError:
            return False  # Most types cannot be cut into parts.
        return bool(current)

    def _ask(self, question: str, *arguments: Any) -> Any:
        try:
            return getattr(self._library, question)(*arguments)
        except AttributeError as missing:
            raise NvmlError(f"this nvidia-ml-py has no {question}") from missing
        except self._library.NVMLError as refused:
            raise NvmlError(f"NVML: {refused}") from refused


def _text(said: Any) -> str:
    """Older releases of the library give bytes."""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
