"""The record: what a supervisor writes down about itself and its processes, for clients and for the next one."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from squall.settings.process import ProcessMark

# A record of another form is read as none: whoever changes its meaning raises this.
_FORM = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Who serves a state directory.

    supervisor: who wrote it. members: the live processes by name ("server", "agent"). ending: it takes no new
    work and will be gone soon. failed: why it gave up; empty while there is hope.
    """

    supervisor: ProcessMark
    version: str
    executable: str
    members: dict[str, ProcessMark] = field(default_factory=dict)
    ending: bool = False
    failed: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "form": _FORM,
            "supervisor": self.supervisor.to_json(),
            "version": self.version,
            "executable": self.executable,
            "members": {name: mark.to_json() for name, mark in self.members.items()},
            "ending": self.ending,
            "failed": self.failed,
        }


def read_record(path: Path) -> Record | None:
    """What `path` says; None where there is nothing, or nothing that makes sense. Its processes may be gone."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(value, dict) or value.get("form") != _FORM:
        return None
    supervisor = ProcessMark.from_json(value.get("supervisor"))
    members = value.get("members")
    if supervisor is None or not isinstance(members, dict):
        return None
    marks = {str(name): ProcessMark.from_json(mark) for name, mark in members.items()}
    return Record(
        supervisor=supervisor,
        version=str(value.get("version", "")),
        executable=str(value.get("executable", "")),
        members={name: mark for name, mark in marks.items() if mark is not None},
        ending=value.get("ending") is True,
        failed=str(value.get("failed", "")),
    )


def write_record(path: Path, record: Record) -> None:
    """Replace `path` in one step: a reader sees the old record or the new one. Raises OSError (a full disk)."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, json.dumps(record.to_json()).encode())
    finally:
        os.close(descriptor)
    os.replace(fresh, path)
