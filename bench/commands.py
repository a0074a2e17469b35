"""Commands: what a person at a shell waits for, each beside bare Python in the same minute."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import Samples, Turn, say, seconds, timed

HELLO = Path(__file__).resolve().parent.parent / "examples" / "hello.py"
BARE = [sys.executable, "-c", "pass"]
UNITS = {
    "rerun_s": "s",
    "hello_up_over_python_s": "s",
    "hello_stopped_over_python_s": "s",
    "help_ms": "ms",
    "help_over_python_ms": "ms",
    "import_over_python_ms": "ms",
    "bare_python_ms": "ms",
}


def squall_command(*arguments: str) -> list[str]:
    """The installed `squall`, or the module where only the source tree is on the path."""
    installed = Path(sys.executable).parent / "squall"
    return [
        str(installed) if installed.exists() else sys.executable,
        *([] if installed.exists() else ["-m", "squall"]),
        *arguments,
    ]


def own_state() -> str:
    """A state directory for this turn alone, so that nobody's running server is measured or stopped."""
    folder = tempfile.mkdtemp(prefix="squall-bench-")
    os.environ["SQUALL_STATE_DIR"] = folder
    return folder


def stop_server(folder: str) -> None:
    """Ends the server of `own_state` and removes its directory."""
    subprocess.run(
        squall_command("down"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False
    )
    shutil.rmtree(folder, ignore_errors=True)


def run_quiet(command: list[str]) -> str:
    """The standard output of `command`; raises RuntimeError with all it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def measure_commands(*, quick: bool) -> Turn:
    """Seconds and milliseconds of the commands, bare Python taken off pair by pair where the name says so."""
    samples: Samples = {name: [] for name in UNITS}
    folder = own_state()
    try:
        _light(samples, repeats=5 if quick else 9)
        _stopped(samples, repeats=2 if quick else 3)
        _up(samples, repeats=4 if quick else 8)
    finally:
        stop_server(folder)
    return Turn(samples=samples)


def _bare() -> float:
    return seconds(lambda: run_quiet(BARE))


def _light(samples: Samples, *, repeats: int) -> None:
    for command in (squall_command("--help"), [sys.executable, "-c", "import squall"]):
        run_quiet(command)
    for _ in range(repeats):
        bare = _bare()
        shown = seconds(lambda: run_quiet(squall_command("--help")))
        imported = seconds(lambda: run_quiet([sys.executable, "-c", "import squall"]))
        samples["bare_python_ms"].append(bare * 1e3)
        samples["help_ms"].append(shown * 1e3)
        samples["help_over_python_ms"].append((shown - bare) * 1e3)
        samples["import_over_python_ms"].append((imported - bare) * 1e3)


def _stopped(samples: Samples, *, repeats: int) -> None:
    for _ in range(repeats):
        run_quiet(squall_command("down"))
        bare = _bare()
        samples["hello_stopped_over_python_s"].append(
            seconds(lambda: run_quiet(squall_command("run", str(HELLO)))) - bare
        )


def _up(samples: Samples, *, repeats: int) -> None:
    """The server is up from here on; every other run has an edited file."""
    with tempfile.TemporaryDirectory(prefix="squall-bench-") as folder:
        mine = Path(folder, "hello.py")
        mine.write_text(HELLO.read_text())
        run_quiet(squall_command("run", str(mine)))
        for number in range(repeats):
            bare = _bare()
            samples["hello_up_over_python_s"].append(
                seconds(lambda: run_quiet(squall_command("run", str(mine)))) - bare
            )
            token = f"edit-{os.getpid()}-{number}"
            mine.write_text(edited(HELLO.read_text(), token))
            taken_s, said = timed(lambda: run_quiet(squall_command("run", str(mine))))
            samples["rerun_s"].append(taken_s)
            if token not in said:
                say(f"commands: the rerun did not show the edit: {said!r}")


def edited(source: str, token: str) -> str:
    """hello.py with its greeting changed, as a person would between two runs."""
    changed = source.replace("Hello", f"Hello {token}")
    if changed == source:
        raise ValueError("hello.py has no greeting to edit")
    return changed
