"""Runs mypy and pyright over mistakes in the use of the public API, and sees that both find each and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WRONG = ROOT / "tests" / "typing" / "wrong"
TOOLS = Path(sys.executable).parent


def marked(folder: Path = WRONG) -> set[tuple[str, int]]:
    """The places that are marked as wrong: file name and line."""
    return {
        (path.name, number)
        for path in folder.glob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.endswith("# wrong")
    }


def found_by_mypy() -> set[tuple[str, int]]:
    """The places at which mypy reports an error."""
    ended = _run(str(TOOLS / "mypy"), "--output=json", "--exclude=^$", *_files())
    reports = [json.loads(line) for line in ended.splitlines() if line.startswith("{")]
    return {
        (Path(report["file"]).name, report["line"])
        for report in reports
        if report["severity"] == "error" and "wrong" in Path(report["file"]).parts
    }


def found_by_pyright() -> set[tuple[str, int]]:
    """The places at which pyright reports an error."""
    settings = ROOT / "tests" / "typing" / "pyrightconfig.json"
    ended = _run(str(TOOLS / "pyright"), "--outputjson", "--project", str(settings))
    reports = json.loads(ended)["generalDiagnostics"]
    return {
        (Path(report["file"]).name, report["range"]["start"]["line"] + 1)
        for report in reports
        if report["severity"] == "error"
    }


def main() -> int:
    """0 if both checkers find what is marked, and nothing else."""
    status = 0
    for checker, found in (("mypy", found_by_mypy()), ("pyright", found_by_pyright())):
        for name, line in sorted(marked() ^ found):
            verb = "does not see" if (name, line) in marked() else "sees"
            print(f"{checker} {verb} a mistake at {name}:{line}")
            status = 1
    return status


def _files() -> list[str]:
    return [str(path.relative_to(ROOT)) for path in sorted(WRONG.glob("*.py"))]


def _run(*command: str) -> str:
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if not ended.stdout:
        sys.exit(f"{command[0]} said nothing but: {ended.stderr}")
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
