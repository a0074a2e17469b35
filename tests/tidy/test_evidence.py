"""Evidence of machines that CI has not got: it can be read, it is not old, and without it the guarantees say so."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from squall.testing.gpu.evidence import FORMAT
from squall.testing.gpu.run import CHECKS
from tests.tidy import house

EVIDENCE = sorted((house.ROOT / "docs" / "evidence").glob("gpu-*.json"))
GUARANTEES = (house.ROOT / "GUARANTEES.md").read_text(encoding="utf-8")
NOT_PROVEN = "- GPUs on real devices"
MOST_DAYS = 120
MOST_COMMITS = 400


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_without_evidence_the_guarantees_say_that_gpus_are_not_proven() -> None:
    not_proven = GUARANTEES.partition("## Not proven here")[2]
    assert (NOT_PROVEN in not_proven) == (not any(_is_whole(read(path)) for path in EVIDENCE))


def test_evidence_is_of_a_real_device_and_tells_every_check() -> None:
    for found in map(read, EVIDENCE):
        assert found["format"] == FORMAT
        assert not found["fake"]
        assert found["driver"]
        assert [check["check"] for check in found["checks"]] == list(CHECKS)
        assert all(check["ok"] or check["why"] for check in found["checks"])


def test_evidence_is_not_old() -> None:
    today = datetime.now(UTC).date()
    for path in EVIDENCE:
        found = read(path)
        days = (today - date.fromisoformat(found["date"])).days
        commits = _commits_since(found["commit"].rstrip("+"))
        print(f"{path.name}: {days} days and {commits} commits old")
        assert days <= MOST_DAYS, "take it again: squall testing gpu --record docs/evidence"
        assert commits is None or commits <= MOST_COMMITS, "the same"


def test_what_is_not_whole_is_no_evidence() -> None:
    checks = [{"check": name, "ok": True} for name in CHECKS]
    assert _is_whole({"fake": False, "checks": checks})
    assert not _is_whole({"fake": True, "checks": checks})
    assert not _is_whole({"fake": False, "checks": [*checks[:-1], {"check": "cold", "ok": None}]})


def _is_whole(found: dict[str, Any]) -> bool:
    """Whether every check held on a real device."""
    return not found["fake"] and all(check["ok"] for check in found["checks"])


def _commits_since(commit: str) -> int | None:
    """How many commits came after it; None where this history does not have it."""
    ran = subprocess.run(
        ["git", "rev-list", "--count", f"{commit}..HEAD"],
        cwd=house.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return int(ran.stdout) if ran.returncode == 0 else None
