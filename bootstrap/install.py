"""Runs pip for an environment, shows how far it is, and says what to do when it fails."""

import glob
import os
import subprocess
import sys
from collections.abc import Iterable

# Settings of the user's pip that would send packages elsewhere than into the environment.
_ELSEWHERE = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_PYTHON")
# What a line of pip's complaint means, and what to do about it.
_REMEDIES = (
    ("CERTIFICATE_VERIFY_FAILED", "set PIP_CERT to the certificate file of your network's proxy"),
    ("No space left on device", "free some space, or set SQUALL_ENV_DIR to a folder on another disk"),
    (
        "Temporary failure in name resolution",
        "connect to the network, or set PIP_INDEX_URL to an index that you reach",
    ),
    (
        "NewConnectionError",
        "connect to the network, set HTTPS_PROXY, or set PIP_INDEX_URL to an index that you reach",
    ),
    ("401 ", "put the user and password of your index into PIP_INDEX_URL or your pip configuration"),
    ("No matching distribution", "set PIP_INDEX_URL to an index that has this package; see the lines above"),
)


class InstallError(Exception):
    """The environment could not be made; remedy says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def say(text: str) -> None:
    """One line of progress, on standard error: standard output belongs to the program."""
    print(f"squall: {text}", file=sys.stderr, flush=True)


def packages(python: str, wanted: Iterable[str], *, log: str) -> int:
    """How many packages the environment holds after pip and the wanted ones are in; pip's own words are in the log.

    Raises InstallError.
    """
    environ = {key: text for key, text in os.environ.items() if key not in _ELSEWHERE}
    environ.pop("PYTHONPATH", None)
    environ.pop("PYTHONHOME", None)
    environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    pip = [python, os.path.join(_wheel(), "pip")]
    command = [
        *pip,
        "install",
        "--no-input",
        "--progress-bar=off",
        "--no-warn-script-location",
        _wheel(),
        *wanted,
    ]
    with open(log, "w", encoding="utf-8") as file:
        status = _watch(command, environ, file.write)
    if status != 0:
        with open(log, encoding="utf-8") as file:
            _fail(file.read(), log)
    listed = subprocess.run(
        [*pip, "list", "--format=freeze"], env=environ, capture_output=True, text=True, check=False
    )
    return len(listed.stdout.splitlines())


def _wheel() -> str:
    return glob.glob(os.path.join(glob.escape(os.path.dirname(__file__)), "vendor", "pip-*.whl"))[0]


def _watch(command: list[str], environ: dict[str, str], keep: object) -> int:
    terminal = sys.stderr.isatty()
    with subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            assert callable(keep)
            keep(line)
            step = _step(line)
            if step and terminal:
                sys.stderr.write(f"\r\x1b[2Ksquall:   {step[:70]}")
                sys.stderr.flush()
            elif step and step.startswith("installing"):
                say(f"  {step}")
        if terminal:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
    return pip.returncode


def _step(line: str) -> str | None:
    words = line.split()
    if words[:1] == ["Collecting"]:
        return f"looking up {words[1]}"
    if words[:1] == ["Downloading"]:
        return "downloading " + words[1].rsplit("/", 1)[-1]
    if words[:3] == ["Installing", "collected", "packages:"]:
        return f"installing {len(words) - 3} packages"
    return None


def _fail(said: str, log: str) -> None:
    lines = [line for line in said.splitlines() if line.strip()]
    remedy = next((advice for sign, advice in _REMEDIES if sign in said), f"read what pip said in {log}")
    tail = "\n    ".join(line.strip()[:300] for line in lines[-6:])
    raise InstallError(f"pip could not install what squall needs:\n    {tail}", remedy)
