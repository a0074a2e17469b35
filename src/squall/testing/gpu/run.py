"""Runs the evidence: a server of its own, one program a check, and whatever happens an object with the figures."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from squall.model.errors import Error
from squall.runtime.gpu_look import RECORDING_VARIABLE, GpuLook, look_at_gpus
from squall.runtime.gpu_recording import write_recording
from squall.runtime.gpu_rung import gpu_rung
from squall.runtime.probe import probe
from squall.runtime.rungs import row_of, rungs
from squall.sdk.local_server import end_server
from squall.settings.paths import StatePaths
from squall.testing.gpu.evidence import Outcome, as_json, model_of, write
from squall.testing.gpu.recorder import Recorder

# Each check with the seconds that it may take; all together take less than BUDGET_S.
CHECKS: Final = {
    "request": 150,
    "refused": 40,
    "queue": 80,
    "product": 120,
    "transformer": 120,
    "killed": 150,
    "cold": 180,
}
WITHOUT_A_DEVICE: Final = ("request", "refused", "queue")
BUDGET_S: Final = 440.0
_LEAST_S: Final = 10.0
_SOURCES: Final = Path(__file__).parents[3]


def main(arguments: Sequence[str] | None = None, *, name: str = "squall testing gpu") -> int:
    """The exit status: 0 where every check that was run holds, 1 where one does not, or nothing could be given."""
    parser = argparse.ArgumentParser(prog=name, description="Show what GPUs do on this machine, offline.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--record", metavar="DIR", help="write the evidence and a recording for tests there")
    parser.add_argument(
        "--fake", metavar="RECORDING", help="replay a recording, and run what needs no device"
    )
    parser.add_argument("--commit", default="", help="the commit of these sources, where git cannot tell")
    given = parser.parse_args(arguments)
    found = gather(fake=given.fake or "", record=given.record or "", commit=given.commit)
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    return 1 if found["failed"] or not found["passed"] else 0


def gather(*, fake: str = "", record: str = "", commit: str = "") -> dict[str, Any]:
    """The evidence of this machine, at most eight minutes later; failures are part of it.

    fake: a recording to replay. record: a directory for the evidence and a recording. commit: as `--commit`.
    """
    began_s = time.monotonic()
    date = time.strftime("%Y-%m-%d", time.gmtime())
    look = look_at_gpus(os.path.abspath(fake) if fake else "")
    with contextlib.ExitStack() as stack:
        recorder = stack.enter_context(Recorder(look)) if record and look.nvml is not None else None
        outcomes = _run_all(look, fake, began_s)
    facts = {"date": date, "fake": bool(fake), "seconds": round(time.monotonic() - began_s, 1), **_host(look)}
    found = as_json(look, outcomes, commit=commit, facts=facts)
    if record:
        folder = Path(record)
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"gpu-{model_of(look)}.json", found)
        if recorder is not None:
            write_recording(folder / f"{model_of(look)}.json", recorder.recording(date=date))
    return found


def show(found: dict[str, Any]) -> None:
    """The same for people, a line a check."""
    names = [gpu["type"] for gpu in found["machine"]["gpus"]]
    print(f"squall {found['squall']} at {found['commit'][:12]}, driver {found['driver'] or 'none'}: {names}")
    if found["refused"]:
        print(f"no container can be given a device: {found['refused']}")
    for check in found["checks"]:
        mark = {True: "+", False: "-", None: " "}[check["ok"]]
        print(f"{mark} {check['check']:12} {check['took_s']:7.1f} s  {check['why'] or check['figures']}")


def _run_all(look: GpuLook, fake: str, began_s: float) -> list[Outcome]:
    if look.refused:
        return [Outcome(check=name, ok=None, why=look.refused, figures={}) for name in CHECKS]
    folder = Path(tempfile.mkdtemp(prefix="squall-gpu-"))
    try:
        shutil.copy(Path(__file__).with_name("program.py"), folder / "gpu_program.py")
        environ = _environment(folder, look, fake)
        outcomes = []
        for name, most_s in CHECKS.items():
            left_s = BUDGET_S - (time.monotonic() - began_s)
            if fake and name not in WITHOUT_A_DEVICE:
                outcomes.append(Outcome(check=name, ok=None, why="needs a device", figures={}))
            elif left_s < _LEAST_S:
                outcomes.append(Outcome(check=name, ok=None, why="no time was left for it", figures={}))
            else:
                outcomes.append(_run_one(folder, name, environ, min(most_s, left_s)))
        return outcomes
    finally:
        with contextlib.suppress(Error, OSError):
            end_server(StatePaths(state=folder / "state"), within_s=20.0)
        shutil.rmtree(folder, ignore_errors=True)


def _run_one(folder: Path, name: str, environ: dict[str, str], most_s: float) -> Outcome:
    began_s = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, str(folder / "gpu_program.py"), name],
            env=environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=most_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        why = f"it was not done within {most_s:.0f} s"
        return Outcome(check=name, ok=False, why=why, took_s=round(most_s, 1), figures={})
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("RESULT "):
            return Outcome(**json.loads(line.removeprefix("RESULT ")))
    why = f"it ended with status {done.returncode}: {done.stderr[-600:].strip()}"
    return Outcome(check=name, ok=False, why=why, took_s=round(time.monotonic() - began_s, 1), figures={})


def _environment(folder: Path, look: GpuLook, fake: str) -> dict[str, str]:
    """What the program and its server see: a state directory of their own, and these sources."""
    whole = [device for device in look.devices if not device.parted]
    kind = whole[0].type
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SQUALL_")}
    path = [str(_SOURCES), *filter(None, [kept.get("PYTHONPATH", "")])]
    return {
        **kept,
        "SQUALL_STATE_DIR": str(folder / "state"),
        "SQUALL_STOP_GRACE_S": "2",
        "PYTHONPATH": os.pathsep.join(path),
        "SQUALL_EVIDENCE_TYPE": kind,
        "SQUALL_EVIDENCE_COUNT": str(min(16, sum(device.type == kind for device in whole))),
        **({RECORDING_VARIABLE: os.path.abspath(fake)} if fake else {}),
    }


def _host(look: GpuLook) -> dict[str, Any]:
    """Which rung of each feature this host allows."""
    with tempfile.TemporaryDirectory(prefix="squall-gpu-") as folder:
        host = probe(folder)
    rows = (*rungs(host), gpu_rung(look))
    return {"row": row_of(host), "rungs": [asdict(row) | {"good": row.good} for row in rows]}
