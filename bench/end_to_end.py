"""End to end: calls of functions at zero containers, through a client and a server of the bench's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import commands
from launcher_peer import RUNGS, rung_name
from measure import PHASE, Samples, say

APPS = {"bare": "cold_app", "torch": "cold_torch_app"}
CASES = ("end_to_end", "after_start", "after_edit", "after_restart")
WIDTH = 100
UNITS = {
    **{f"{case}_{kind}_ms": "ms" for case in CASES for kind in APPS},
    **{f"{case}_first_line_{kind}_ms": "ms" for case in CASES for kind in APPS},
    **{f"open_{case}_{kind}_ms": "ms" for case in CASES[1:3] for kind in APPS},
    "burst_100_s": "s",
    "burst_100_first_s": "s",
    "burst_100_to_zero_s": "s",
    "burst_100_left": "things",
}
_FILES = ("cold_client.py", "cold_app.py", "cold_torch_app.py", "leak_count.py")
_HERE = Path(__file__).resolve().parent
_CLIENT_S = 600
_HOLD_S = (3.0, 8.0, 20.0)


def who_of(rung: str) -> str:
    """The contender whose figures a start by this rung belongs to; nobody's where the server did not say."""
    names = {said: who for who, said in RUNGS.items()}
    return names.get(rung_name(rung), "")


def samples_of_call(case: str, kind: str, call: Mapping[str, Any]) -> Samples:
    """The figures of one call."""
    phases = {f"{PHASE}{name}_{case}_{kind}_ms": [at_ms] for name, at_ms in call["phases_ms"].items()}
    return {
        f"{case}_{kind}_ms": [call["result_ms"]],
        f"{case}_first_line_{kind}_ms": [call["first_ms"]],
        **phases,
    }


def add(results: dict[str, Samples], who: str, samples: Samples) -> None:
    """Puts samples to those that `who` has."""
    own = results.setdefault(who, {})
    for name, values in samples.items():
        own.setdefault(name, []).extend(values)


def line_of(case: str, kind: str, calls: Sequence[Mapping[str, Any]]) -> str:
    """Progress: the middle call of this case, its rung and how far each phase was when."""
    if not calls:
        return f"{case}, {kind}: no call"
    one = sorted(calls, key=lambda call: float(call["result_ms"]))[len(calls) // 2]
    phases = ", ".join(f"{name} {at_ms:.1f}" for name, at_ms in one["phases_ms"].items())
    first, result = one["first_ms"], one["result_ms"]
    return f"{case}, {kind}: first line {first:.4g} ms, result {result:.4g} ms, n {len(calls)}, by {one['rung']} {phases}"


class Client:
    """Programs that open the app of one kind, each a process of its own, in one folder that is edited between them."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._module = APPS[kind]
        self._edits = 0

    def run(self, *options: str) -> dict[str, Any]:
        """What the program measured. Raises RuntimeError with what it said where it fails."""
        command = [sys.executable, "cold_client.py", self._module, *options]
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, timeout=_CLIENT_S, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        if found["first"]["edits"] != self._edits:
            raise RuntimeError(f"the call ran edit {found['first']['edits']}, not {self._edits}")
        return found

    def edit(self) -> None:
        """Changes the app's source as a person would between two runs."""
        path = self._folder / f"{self._module}.py"
        before, self._edits = f"EDITS = {self._edits}", self._edits + 1
        path.write_text(path.read_text().replace(before, f"EDITS = {self._edits}"))


def measure_calls(client: Client, kind: str, repeats: tuple[int, int], results: dict[str, Samples]) -> None:
    """Every case of one kind. repeats: calls from zero containers, and runs of the app."""
    calls, runs = repeats
    found = client.run("--calls", str(calls), "--restart")
    taken: dict[str, list[dict[str, Any]]] = {
        "end_to_end": found["calls"],
        "after_restart": [found["restarted"]],
    }
    for call in found["calls"]:
        if who := who_of(call["rung"]):
            add(results, who, samples_of_call("end_to_end", kind, call))
    for number in range(runs):
        for case in ("after_start", "after_edit"):
            if case == "after_edit":
                client.edit()
            # A call after a restart is one a run: the others come here as they do there.
            opened = client.run(*(["--restart"] if case == "after_start" and number else []))
            taken.setdefault(case, []).append(opened["first"])
            taken["after_restart"] += [opened["restarted"]] if "restarted" in opened else []
            add(results, "squall", {f"open_{case}_{kind}_ms": [opened["open_ms"]]})
    for case, done in taken.items():
        for call in done:
            add(results, "squall", samples_of_call(case, kind, call))
        say(line_of(case, kind, done))


def measure_burst(client: Client, repeats: int, results: dict[str, Samples]) -> None:
    """A map that needs a hundred containers at once, kept for long enough that they all are there together."""
    for _ in range(repeats):
        for hold_s in _HOLD_S:
            found = client.run("--burst", str(WIDTH), "--hold", str(hold_s))["burst"]
            if found["together"]:
                break
        else:
            say(f"burst: no {WIDTH} containers at once, though each is kept {_HOLD_S[-1]:g} s: no figure")
            continue
        left = sum(found["left"].values())
        add(
            results,
            "squall",
            {
                "burst_100_s": [found["burst_s"]],
                "burst_100_first_s": [found["first_s"]],
                "burst_100_to_zero_s": [found["to_zero_s"]],
                "burst_100_left": [left],
            },
        )
        say(
            f"burst: {WIDTH} inputs running after {found['burst_s']:.3f} s, the first after {found['first_s']:.3f} s, "
            f"by {found['rungs']}; none left {found['to_zero_s']:.2f} s after the last result; "
            f"left behind: {found['left'] or 'nothing'}"
        )


def measure_end_to_end(
    kinds: Sequence[str], parts: Sequence[str], *, rounds: int, quick: bool
) -> dict[str, Samples]:
    """All that is asked, on a server with a state directory of its own, of which nothing is left."""
    results: dict[str, Samples] = {}
    state = commands.own_state()
    try:
        for kind in [kind for kind in kinds if kind in APPS]:
            with tempfile.TemporaryDirectory(prefix="squall-bench-") as folder:
                for name in _FILES:
                    shutil.copy(_HERE / name, folder)
                client = Client(Path(folder), kind)
                if "end_to_end" in parts:
                    calls = 20 if quick or kind == "torch" else 40
                    measure_calls(client, kind, (calls * rounds, 2 * rounds), results)
                if "burst" in parts and kind == "bare":
                    measure_burst(client, rounds, results)
    finally:
        commands.stop_server(state)
    return results
