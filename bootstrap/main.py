"""The commands of a clone: `test`, `check` and `setup` are ours, the others are squall's own command line."""

import os
import sys
from typing import NoReturn

from bootstrap import place


def main(root: str, arguments: list[str]) -> NoReturn:
    """Sets up what the command needs and becomes it."""
    command, options = (arguments[0], arguments[1:]) if arguments else ("", [])
    match command:
        case "test":
            path = _ready(root, "server", "test")
            _become([place.python(path), "-m", "pytest", *options], path, folder=root)
        case "check":
            from bootstrap import check  # only this command pays for it

            sys.exit(check.main(root, _ready(root, "server", "test", "check"), options))
        case "testing" if options[:1] == ["gpu"]:
            # With the interpreter that has torch, and without any package of ours: no index is needed.
            os.environ["PYTHONPATH"] = os.path.join(root, "src")
            _become([sys.executable, "-m", "squall.testing.gpu", *options[1:]], root)
        case "setup":
            print(_ready(root, "server", *options))
            sys.exit(0)
        case _:
            path = _ready(root, "server", *_of_this_machine())
            _become([place.python(path), place.script(path), *arguments], path)


def _of_this_machine() -> tuple[str, ...]:
    """The extras that this machine is of use with: the driver's own file says that there is a GPU."""
    return ("gpu",) if os.path.exists("/proc/driver/nvidia/version") else ()


def _ready(root: str, *extras: str) -> str:
    path = place.find(root, frozenset(extras))
    if path is not None:
        return path
    from bootstrap import environment, install  # only the first run pays for it

    try:
        return environment.make(root, frozenset(extras))
    except install.InstallError as error:
        sys.exit(f"squall: {error}\n  what to do: {error.remedy}")


def _become(command: list[str], path: str, folder: str | None = None) -> NoReturn:
    environ = dict(os.environ)
    environ.pop("PYTHONHOME", None)
    environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", os.path.join(path, "hypothesis"))
    if folder is not None:
        os.chdir(folder)
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "nt":
        import subprocess  # Windows cannot replace a process

        sys.exit(subprocess.run(command, env=environ, check=False).returncode)
    os.execve(command[0], command, environ)  # noqa: S606 - the point: no process of ours stays in between
