"""Everything that a change must pass beside the tests: format, lint, types, order of imports, house rules."""

import os
import subprocess
import sys
import time

from bootstrap import place


def main(root: str, path: str, arguments: list[str]) -> int:
    """Runs every check, or those named in the arguments; 0 if all pass."""
    wanted = [(name, command) for name, command in _checks(path) if not arguments or name in arguments]
    unknown = set(arguments) - {name for name, _ in wanted}
    if unknown:
        names = ", ".join(name for name, _ in _checks(path))
        print(f"squall: no check is called {', '.join(sorted(unknown))}; there are {names}", file=sys.stderr)
        return 2
    environ = {**os.environ, "PYTHONPATH": os.path.join(root, "src")}
    failed = []
    for name, command in wanted:
        started = time.monotonic()
        ended = subprocess.run(
            command,
            cwd=root,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        verdict = "ok" if ended.returncode == 0 else "FAILED"
        print(f"{name:<8} {verdict:<6} {time.monotonic() - started:5.1f} s", flush=True)
        if ended.returncode != 0:
            failed.append(name)
            print(ended.stdout, flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


def _checks(path: str) -> list[tuple[str, list[str]]]:
    python = place.python(path)
    tool = os.path.dirname(python)
    ours = [".", "squall"]
    return [
        ("format", [os.path.join(tool, "ruff"), "format", "--check", *ours]),
        ("lint", [os.path.join(tool, "ruff"), "check", *ours]),
        ("mypy", [os.path.join(tool, "mypy")]),
        ("pyright", [os.path.join(tool, "pyright")]),
        ("typing", [python, os.path.join("scripts", "typing_cases.py")]),
        ("imports", [os.path.join(tool, "lint-imports"), "--no-cache"]),
        ("tidy", [python, "-m", "pytest", "-q", "--no-header", "tests/tidy"]),
    ]
