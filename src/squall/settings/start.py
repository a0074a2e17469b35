"""Start: run one of our own programs from this very package, whatever the interpreter's path would find.

`python -I -m squall.server` finds only what is installed where isolated mode looks: not a package in the user's
own site directory, not a source tree. The file itself is started instead, and says where its package is.
"""

import os
import sys
from importlib import import_module

_SUPERVISED = {"squall.supervisor", "squall.server", "squall.agent"}


def command(program: str, *arguments: str, bare: bool = False) -> tuple[str, ...]:
    """The command line that runs `main(arguments)` of the module `program`.main, isolated from the environment.

    bare: without site-packages, which the program must not need; some milliseconds faster.
    """
    return (sys.executable, "-I", *(("-S",) if bare else ()), os.path.abspath(__file__), program, *arguments)


def _run() -> int:
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # Behind the standard library, which it must not hide, and before any other place with a squall in it.
    sites = (
        place for place, path in enumerate(sys.path) if path.endswith(("site-packages", "dist-packages"))
    )
    sys.path.insert(next(sites, len(sys.path)), root)
    program, *arguments = sys.argv[1:]
    sys.argv[:] = [program, *arguments]

    def entry() -> int:
        return int(import_module(f"{program}.main").main(arguments))

    # A launcher becomes containers: it takes on no module that it does not need.
    if program not in _SUPERVISED:
        return entry()
    return int(import_module("squall.settings.member").carry_out(program, arguments, entry))


if __name__ == "__main__":
    sys.exit(_run())
