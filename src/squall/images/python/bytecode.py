"""Bytecode: a standard library compiled once, by the interpreter that will load it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from squall.model.errors import ImageBuildError
from squall.runtime.asked import Ask, TooMuchSaidError, ask

COMPILE_S: Final = 600.0
"""How long an interpreter may take for its library."""

# Hash-based and unchecked: it says nothing of this machine or this hour, and no start looks whether it still fits. A file that
# does not compile is one that cannot be imported either.
_PROGRAM: Final = """
import importlib.util, os, py_compile, sys
files, shown = sys.argv[1:]
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
for here, directories, names in os.walk(files):
    directories.sort()
    for name in sorted(names):
        if name.endswith(".py"):
            path = os.path.join(here, name)
            to = importlib.util.cache_from_source(path)
            try:
                py_compile.compile(path, to, shown + path[len(files):], True, 0, mode)
            except py_compile.PyCompileError:
                pass
"""
# Without the machine's own packages. The same files give the same bytes: since 3.11 sets are written in one order.
_OPTIONS: Final = ("-S", "-s", "-B", "-P")
_ENVIRON: Final = {"LC_ALL": "C.UTF-8"}


async def compile_library(interpreter: str, files: Path, shown: str) -> None:
    """Writes the bytecode of all below `files` beside it. shown: where the files will lie when they run.

    Raises ImageBuildError where the interpreter does not run, fails or takes too long.
    """
    argv = (interpreter, *_OPTIONS, "-c", _PROGRAM, str(files), shown)
    try:
        answer = await ask(argv, Ask(within_s=COMPILE_S, listens="err", env=_ENVIRON))
    except TimeoutError:
        raise ImageBuildError(
            f"{interpreter} took more than {COMPILE_S:.0f} s to compile its library"
        ) from None
    except TooMuchSaidError:
        raise ImageBuildError(f"{interpreter} complains without end of its library") from None
    except OSError as error:
        raise ImageBuildError(f"{interpreter} does not run: {error.strerror}") from error
    if answer.status:
        last = answer.said[-500:].decode("utf-8", "replace").strip()
        raise ImageBuildError(f"{interpreter} could not compile its library: {last}")


def compile_command(interpreter: str, shown: str) -> str:
    """The same for a library that lies in an image already, as a command for the image's shell."""
    return f"{interpreter} -S -s -m compileall -q --invalidation-mode unchecked-hash {shown} || true"
