"""Recorder: keeps what the driver answers while the checks run, and makes a recording of it for tests to replay."""

from __future__ import annotations

import os
import platform
import threading
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from squall.model.gpu_device import GpuUse
from squall.runtime.gpu_look import GpuLook
from squall.runtime.gpu_recording import Recording, UseRecord
from squall.runtime.nvml import NvmlError

_EVERY_S: Final = 0.25
_MOST_ANSWERS: Final = 64
_TEXTS: Final = ("driver/nvidia/params", "driver/nvidia/version")


class Recorder:
    """Asks the driver about every device's memory for as long as it is entered."""

    def __init__(self, look: GpuLook) -> None:
        self._look = look
        self._answers: dict[str, list[GpuUse]] = {device.id: [] for device in look.devices}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="squall-recorder", daemon=True)

    def __enter__(self) -> Self:
        """Begins to ask."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Asks no more."""
        self._end.set()
        self._thread.join(5)

    def recording(self, *, date: str) -> Recording:
        """What was heard. The devices' own ids, which tell one machine from all others, are replaced by numbers."""
        ids = {device.id: _anonymous(number) for number, device in enumerate(self._look.devices)}
        uses = tuple(
            UseRecord(device=ids[name], answers=tuple(answers))
            for name, answers in self._answers.items()
            if answers
        )
        return Recording(
            made="recorded",
            date=date,
            machine=platform.machine(),
            kernel=platform.release(),
            driver=self._look.driver,
            devices=tuple(replace(device, id=ids[device.id]) for device in self._look.devices),
            uses=uses,
            proc={name: text for name in _TEXTS if (text := _text(f"/proc/{name}"))},
        )

    def _run(self) -> None:
        nvml = self._look.nvml
        while nvml is not None and not self._end.wait(_EVERY_S):
            for name, answers in self._answers.items():
                try:
                    now = nvml.use(name)
                except NvmlError:
                    continue
                if len(answers) < _MOST_ANSWERS and (not answers or answers[-1] != now):
                    answers.append(now)


def _anonymous(number: int) -> str:
    return f"GPU-{number:08d}-0000-4000-8000-{number:012d}"


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(os.sysconf("SC_PAGE_SIZE"))
    except OSError:
        return ""
