"""Bytecode of an environment, compiled by its own Python: known by its source, as after every other step.

`python -I -S bytecode.py DIRECTORY`. What packages bring is known by times that are not kept, and what packages without a
platform bring is none at all. Standard library only: it is read by whatever Python the environment has.
"""

from __future__ import annotations

import importlib.util
import os
import py_compile
import sys

_MOST_WORKERS = 16
_UNCHECKED = bytes([1, 0, 0, 0])


def main(top: str) -> int:
    """Compiles what is not, in as many processes as there are cores; the exit status. What does not compile is left."""
    files = sorted(
        os.path.join(here, name) for here, _, names in os.walk(top) for name in names if name.endswith(".py")
    )
    workers = min(len(os.sched_getaffinity(0)), _MOST_WORKERS)
    children = []
    for number in range(workers):
        child = os.fork()
        if not child:
            _compile(files[number::workers])
            os._exit(0)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]  # all of them are waited for
    return int(any(statuses))


def _compile(files: list[str]) -> None:
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for path in files:
        try:
            compiled = importlib.util.cache_from_source(path)
            if not _is_settled(path, compiled):
                py_compile.compile(path, compiled, path, doraise=True, optimize=0, invalidation_mode=mode)
        except (py_compile.PyCompileError, OSError, ValueError, RecursionError):
            continue  # it cannot be imported either


def _is_settled(path: str, compiled: str) -> bool:
    """Whether this is the bytecode of this very source: nobody looks later."""
    with open(path, "rb") as file:
        source = importlib.util.source_hash(file.read())
    try:
        with open(compiled, "rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return head == importlib.util.MAGIC_NUMBER + _UNCHECKED + source


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
