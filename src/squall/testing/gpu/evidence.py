"""Evidence: what was found on one machine with a GPU, for which state of the code, failures included."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from squall.model.gpu_device import GpuDevice, counted
from squall.runtime.gpu_look import GpuLook
from squall.settings.version import VERSION

FORMAT: Final = 1
_ROOT: Final = Path(__file__).parents[4]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one check ended. ok: None where it was not run, which `why` explains; took_s: seconds."""

    check: str
    ok: bool | None
    why: str = ""
    took_s: float = 0.0
    figures: dict[str, Any]


def as_json(look: GpuLook, outcomes: list[Outcome], *, commit: str, facts: dict[str, Any]) -> dict[str, Any]:
    """The object that is printed, written and committed."""
    return {
        "format": FORMAT,
        "squall": VERSION,
        "commit": commit or commit_here(),
        **facts,
        "driver": look.driver.version,
        "refused": look.refused,
        "machine": {
            "kernel": platform.release(),
            "machine": platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
            "python": platform.python_version(),
            "uid": os.geteuid(),
            "gpus": [_device(device) for device in look.devices],
            "libraries_found_by": look.driver.found_by,
            "loader_finds": look.driver.loader_finds,
        },
        "passed": sum(outcome.ok is True for outcome in outcomes),
        "failed": [outcome.check for outcome in outcomes if outcome.ok is False],
        "left_out": [outcome.check for outcome in outcomes if outcome.ok is None],
        "checks": [
            {
                "check": outcome.check,
                "ok": outcome.ok,
                "why": outcome.why,
                "took_s": outcome.took_s,
                "figures": outcome.figures,
            }
            for outcome in outcomes
        ],
    }


def model_of(look: GpuLook) -> str:
    """What the file of this machine's evidence is named after: its largest type, in small letters."""
    types = counted(look.devices)
    return types[-1].type.lower() if types else "none"


def commit_here() -> str:
    """The commit that these sources are of, with "+" where they were changed since; "unknown" where git cannot say."""
    try:
        head = _git("rev-parse", "HEAD")
        return f"{head}+" if _git("status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def write(path: Path, found: dict[str, Any]) -> None:
    """Writes evidence, for people to read too."""
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _device(device: GpuDevice) -> dict[str, Any]:
    return {
        "type": device.type,
        "name": device.name,
        "memory_mib": device.memory_bytes // 2**20,
        "parted": device.parted,
    }
