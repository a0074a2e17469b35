"""Makes the private environment of a clone, and renews it when pyproject.toml changes."""

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator

from bootstrap import install, place

_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def make(root: str, extras: frozenset[str]) -> str:
    """The folder of an environment in which squall and these extras are installed now.

    Raises install.InstallError, which says what to do, where it cannot be made.
    """
    try:
        path = _first_writable(place.homes(root, os.environ), place.name(root))
    except OSError as error:
        raise install.InstallError(
            str(error), "set SQUALL_ENV_DIR to a folder that you may write to"
        ) from error
    with _alone(path):
        if not place.holds(path, place.identity(root), extras):
            _renew(root, path, extras)
    return path


def requirements(root: str, extras: frozenset[str]) -> list[str]:
    """What pyproject.toml asks for, with these of its extras."""
    with open(os.path.join(root, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)["project"]
    offered: dict[str, list[str]] = project["optional-dependencies"]
    unknown = sorted(extras - offered.keys())
    if unknown:
        raise install.InstallError(
            f"no extra is called {', '.join(unknown)}", f"the extras are {', '.join(sorted(offered))}"
        )
    return [*project["dependencies"], *(line for extra in sorted(extras) for line in offered[extra])]


def _first_writable(homes: Iterator[str], name: str) -> str:
    refused = []
    for home in homes:
        path = os.path.join(home, name)
        try:
            os.makedirs(home, mode=0o700, exist_ok=True)
            if not place.is_ours(home):
                raise PermissionError("others may write there")
            os.makedirs(path, mode=0o755, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                return path
        except OSError as error:
            refused.append(f"{home}: {error.strerror or error}")
    raise OSError("no place for the environment: " + "; ".join(refused))


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """Holds the environment's lock; a second run of this script waits for the first."""
    if sys.platform == "win32":
        yield
        return
    import fcntl  # POSIX only

    with open(os.path.join(path, ".lock"), "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            install.say("another squall is setting up; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _renew(root: str, path: str, extras: frozenset[str]) -> None:
    started = time.monotonic()
    wanted = extras | place.stamp(path)[1]
    install.say(f"setting up in {_short(path)} (once; needs the package index)")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(path, place.STAMP))
    _create(path)
    log = os.path.join(path, "install.log")
    count = install.packages(place.python(path), requirements(root, wanted), log=log)
    _link_sources(root, path)
    with open(os.path.join(path, place.STAMP), "w", encoding="utf-8") as file:
        file.write(place.identity(root) + "\n" + " ".join(sorted(wanted)))
    install.say(f"ready: {count} packages in {time.monotonic() - started:.1f} s")


def _create(path: str) -> None:
    """An empty environment. By hand, because Debian and others ship Python without a working `venv` module."""
    base = place.base_python()
    if os.name == "nt":
        subprocess.run([base, "-m", "venv", "--without-pip", path], check=True)
        return
    os.makedirs(os.path.join(path, "bin"), exist_ok=True)
    os.makedirs(_site_packages(path), exist_ok=True)
    _symlink("lib", os.path.join(path, "lib64"))  # some distributions install compiled packages there
    for name in ("python", "python3", f"python{_VERSION}"):
        _symlink(base, os.path.join(path, "bin", name))
    with open(os.path.join(path, "pyvenv.cfg"), "w", encoding="utf-8") as file:
        file.write(
            f"home = {os.path.dirname(base)}\ninclude-system-site-packages = false\n"
            f"version = {'.'.join(map(str, sys.version_info[:3]))}\nexecutable = {base}\n"
        )
    seen = subprocess.run(
        [place.python(path), "-I", "-c", "import sys; print(sys.prefix)"],
        capture_output=True,
        text=True,
        check=False,
    )
    if os.path.realpath(seen.stdout.strip()) != os.path.realpath(path):
        raise install.InstallError(
            f"{base} does not work as the interpreter of an environment: {seen.stderr.strip() or seen.stdout}",
            "run the command with another Python, for example `python3.12 squall ...`",
        )


def _symlink(target: str, link: str) -> None:
    if os.path.lexists(link):
        if os.path.islink(link) and os.readlink(link) == target:
            return
        os.unlink(link)
    os.symlink(target, link)


def _link_sources(root: str, path: str) -> None:
    """Makes the clone's own code importable in the environment, and writes the `squall` command."""
    with open(os.path.join(_site_packages(path), "squall.pth"), "w", encoding="utf-8") as file:
        file.write(os.path.join(root, "src") + "\n")
    # Started through a shell: the kernel cuts a first line after 127 bytes, and the path may be longer.
    with open(place.script(path), "w", encoding="utf-8") as file:
        file.write(
            f"#!/bin/sh\n''':'\nexec {shlex.quote(place.python(path))} \"$0\" \"$@\"\n'''\n"
            "from squall.cli.main import main\n\nmain()\n"
        )
    os.chmod(place.script(path), 0o755)  # noqa: S103 - a command that others may run too


def _site_packages(path: str) -> str:
    folder = ("Lib",) if os.name == "nt" else ("lib", f"python{_VERSION}")
    return os.path.join(path, *folder, "site-packages")


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
