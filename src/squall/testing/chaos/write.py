"""Writing a report down: the figures, and of which machine and version they are."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path

from squall.settings.version import VERSION
from squall.testing.chaos.report import Report

FORMAT = 1


def write(file: Path, report: Report) -> None:
    """Writes the report as JSON. Raises OSError."""
    about = {
        "format": FORMAT,
        "squall": VERSION,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
    }
    file.write_text(json.dumps({**about, **report.as_json()}, indent=2) + "\n", encoding="utf-8")
