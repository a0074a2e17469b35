"""GPU recordings: what a machine's driver answered and which files it had, kept as JSON, and the fake that replays them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from squall.model.gpu_device import Driver, GpuDevice, GpuUse
from squall.model.jsonable import from_json, to_json
from squall.runtime.nvml import NvmlError

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UseRecord:
    """What one device said of its memory, one answer after the other."""

    device: str
    answers: tuple[GpuUse, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One machine's GPUs. made: "recorded", or "by hand" with from what; machine, kernel: where; proc: texts by path.

    Raises ValueError for a recording of another format.
    """

    format: int = FORMAT
    made: str
    date: str = ""
    machine: str = ""
    kernel: str = ""
    driver: Driver = Driver()
    devices: tuple[GpuDevice, ...] = ()
    uses: tuple[UseRecord, ...] = ()
    proc: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(
                f"a recording of format {self.format} cannot be read here; this is format {FORMAT}"
            )


def read_recording(path: str | Path) -> Recording:
    """The recording in a file. Raises ValueError for one that cannot be read, OSError where there is none."""
    return from_json(Recording, json.loads(Path(path).read_text(encoding="utf-8")))


def write_recording(path: str | Path, recording: Recording) -> None:
    """Writes a recording, for people to read too."""
    plain = {"format": recording.format, **to_json(recording)}
    Path(path).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


class RecordedNvml:
    """The driver that a recording tells of. Each answer about memory is given once, the last one for ever."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._asked: dict[str, int] = {}

    def version(self) -> str:
        """See squall.runtime.nvml.Nvml."""
        return self._recording.driver.version

    def devices(self) -> tuple[GpuDevice, ...]:
        """See squall.runtime.nvml.Nvml."""
        return self._recording.devices

    def use(self, device: str) -> GpuUse:
        """See squall.runtime.nvml.Nvml."""
        if all(known.id != device for known in self._recording.devices):
            raise NvmlError(f"NVML: there is no device {device}")
        answers = next((one.answers for one in self._recording.uses if one.device == device), ())
        number = self._asked.get(device, 0)
        self._asked[device] = number + 1
        return answers[min(number, len(answers) - 1)] if answers else GpuUse()
