"""Heavy modules: numpy and torch in a folder of their own, so that a container sees them and a bare one does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TORCH = "torch==2.13.0"
_INSTALL_S = 900


def default_folder() -> Path:
    """Where they are kept between runs: in the user's cache, one folder for each Python and release."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return cache / "squall-bench" / f"py{version}-{TORCH.replace('==', '-')}"


def heavy_modules(folder: Path) -> tuple[Path | None, str]:
    """The folder with as much of numpy and torch as could be installed, and the line that says what could not."""
    problems: list[str] = []
    for wanted in (("numpy", TORCH), ("numpy",)):
        names = [one.partition("==")[0] for one in wanted]
        if all((folder / name).is_dir() for name in names):
            break
        if problem := _install(folder, wanted):
            problems.append(f"{' and '.join(names)} could not be installed ({problem})")
        else:
            break
    return (folder if folder.is_dir() else None), "; ".join(problems)


def _install(folder: Path, wanted: tuple[str, ...]) -> str:
    """The last line of what went wrong, or nothing. What is half there is not kept."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--upgrade",
        "--target",
        str(folder),
        *wanted,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        return f"not within {_INSTALL_S} s"
    lines = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
    return "" if done.returncode == 0 else lines[-1]
