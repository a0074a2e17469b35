"""Runs the README's two commands in fresh clones, each on a machine that lacks something, and prints a line each.

Needs root, because it makes an ordinary user and takes rights away. `--only NAME,...` runs some profiles, `--first`
only the first command of each, `--jobs N` so many profiles side by side (tests wait more than they compute),
`--keep` leaves clones and logs in place.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Of this run alone: there may be another one.
USER = f"squall-{os.getpid()}"
# The kernel refuses namespaces from here on, and mounts are refused too.
WITHOUT_NAMESPACES = (
    "unshare",
    "-Ur",
    "sh",
    "-c",
    'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -sys_admin "$@"',
    "sh",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A machine that lacks something.

    python: the interpreter that is `python3` there, a version or a path; environ: changes, None removes.
    """

    name: str
    python: str = "/usr/bin/python3"
    user: str = "root"
    home_writable: bool = True
    prefix: tuple[str, ...] = ()
    environ: dict[str, str | None] = field(default_factory=dict)
    hidden_modules: tuple[str, ...] = ()


PIP_CLEARED: dict[str, str | None] = {
    **dict.fromkeys(name for name in os.environ if name.startswith("PIP_")),
    **dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")),
    "PIP_CONFIG_FILE": os.devnull,
}

PROFILES = (
    Profile(name="ordinary user", user=USER),
    Profile(name="no namespaces", prefix=WITHOUT_NAMESPACES),
    Profile(name="pip settings cleared", environ=PIP_CLEARED),
    Profile(name="python 3.11", python="3.11"),
    Profile(name="python 3.12", python="3.12"),
    Profile(name="python 3.13", python="3.13"),
    Profile(name="externally managed", user=USER, environ={"PIP_BREAK_SYSTEM_PACKAGES": None}),
    Profile(name="no venv module", user=USER, hidden_modules=("venv", "ensurepip", "pip", "virtualenv")),
    Profile(name="home read-only", user=USER, home_writable=False),
    Profile(name="no runtime directory", user=USER, environ={"XDG_RUNTIME_DIR": None}),
)


def main() -> int:
    """0 if every profile passed both commands."""
    asked = _arguments()
    wanted = [profile for profile in PROFILES if not asked.only or profile.name in asked.only.split(",")]
    if os.geteuid() != 0:
        sys.exit("fresh: needs root, to make an ordinary user and to take rights away")
    commands = readme_commands()[: 1 if asked.first else 2]
    with _user(), _folder(keep=asked.keep) as folder, ThreadPoolExecutor(asked.jobs) as lanes:
        passed = sum(
            lanes.map(lambda one: _passes(one, commands, folder / one.name.replace(" ", "-")), wanted)
        )
    print(f"{passed} of {len(wanted)} profiles passed", flush=True)
    return 0 if passed == len(wanted) else 1


def readme_commands() -> list[str]:
    """The README's set-up commands: the lines of its first console block."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```console\n(.*?)```", text, re.DOTALL)
    assert block, "README.md has no console block"
    return [line.removeprefix("$ ") for line in block.group(1).splitlines() if line.startswith("$ ")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="names of profiles, with commas between")
    parser.add_argument("--first", action="store_true", help="only the first command of each")
    parser.add_argument("--jobs", type=int, default=1, help="how many profiles run side by side (default 1)")
    parser.add_argument("--keep", action="store_true", help="leave clones and logs in place")
    return parser.parse_args()


@contextmanager
def _user() -> Iterator[None]:
    """An ordinary user, who has no subordinate ids; gone afterwards."""
    # A system account: useradd grants ordinary ones subordinate ids by itself.
    subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/bin/sh", USER], check=True)
    try:
        yield
    finally:
        subprocess.run(["userdel", USER], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="squall-fresh-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _passes(profile: Profile, commands: list[str], folder: Path) -> bool:
    """Runs the commands as the profile says, prints the profile's line, and says whether all ended well."""
    python = _interpreter(profile.python)
    if python is None:
        print(f"FAILED  {profile.name:<22} this machine has no Python {profile.python}", flush=True)
        return False
    clone, environ = _prepare(profile, folder, python)
    told = []
    try:
        for number, command in enumerate(commands, 1):
            log = folder / f"command-{number}.log"
            started = time.monotonic()
            status = _run(profile, command, clone, environ, log)
            said = log.read_text(encoding="utf-8", errors="replace")
            told.append(
                f"{command.partition(' ')[2]}: {_summary(said)} in {time.monotonic() - started:.0f} s"
            )
            if status != 0:
                tail = "\n    ".join(said.splitlines()[-25:])
                print(
                    f"FAILED  {profile.name:<22} {'; '.join(told)} (status {status})\n    {tail}", flush=True
                )
                return False
    finally:
        _run(profile, "python3 squall down --force", clone, environ, folder / "down.log")
    print(f"passed  {profile.name:<22} {'; '.join(told)}", flush=True)
    return True


def _interpreter(python: str) -> str | None:
    """The path of the interpreter: an absolute one as it is, a version wherever it is installed."""
    if python.startswith("/"):
        return python
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    places = [*sorted(pyenv.glob(f"{python}.*/bin/python{python}")), shutil.which(f"python{python}")]
    return next((str(place) for place in places if place), None)


def _prepare(profile: Profile, folder: Path, python: str) -> tuple[Path, dict[str, str]]:
    """A fresh clone, a home, and an environment in which `python3` is the profile's."""
    clone, home, programs, runtime = (folder / name for name in ("clone", "home", "bin", "runtime"))
    for path in (home, programs, runtime):
        path.mkdir(parents=True)
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", f"file://{ROOT}", str(clone)], check=True)
    (programs / "python3").symlink_to(python)
    hidden = folder / "hidden"
    hidden.mkdir()
    for name in profile.hidden_modules:
        (hidden / f"{name}.py").write_text(f"raise ModuleNotFoundError({name!r}, name={name!r})\n")
    owned = [clone, runtime, *([home] if profile.home_writable else [])]
    subprocess.run(["chown", "-R", f"{profile.user}:", *map(str, owned)], check=True)
    runtime.chmod(0o700)
    environ: dict[str, str | None] = {
        **{
            name: text
            for name, text in os.environ.items()
            if not name.startswith(("SQUALL_", "XDG_", "PYENV"))
        },
        "HOME": str(home),
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "XDG_RUNTIME_DIR": str(runtime),
        "PYTHONPATH": str(hidden) if profile.hidden_modules else None,
        **profile.environ,
    }
    return clone, {name: text for name, text in environ.items() if text is not None}


def _run(profile: Profile, command: str, clone: Path, environ: dict[str, str], log: Path) -> int:
    become = (
        ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if profile.user == USER else []
    )
    with log.open("w", encoding="utf-8") as file:
        return subprocess.run(
            [*become, *profile.prefix, *command.split()],
            cwd=clone,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode


def _summary(said: str) -> str:
    """What a log says at its end: pytest's count, or that there was output."""
    counts = re.findall(r"=+ (.*?) in [\d.]+s.* =+", said)
    return counts[-1] if counts else f"{len(said.splitlines())} lines"


if __name__ == "__main__":
    sys.exit(main())
