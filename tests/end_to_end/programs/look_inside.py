"""Look inside: what a container shows of itself and of its host, and how each of its limits ends a function."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import squall

app = squall.App("look")


def attempt(what: Callable[..., Any], *arguments: Any) -> Any:
    """What it gives, or the error's name."""
    try:
        return what(*arguments)
    except OSError as error:
        return type(error).__name__


def read(path: str) -> str:
    return pathlib.Path(path).read_text()


@app.function(memory=256)
def look() -> dict[str, Any]:
    status = dict(line.split(":\t", 1) for line in read("/proc/self/status").splitlines())
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    return {
        "id": subprocess.run(["id", "-u"], check=True, capture_output=True, text=True).stdout.strip(),
        **{name: status[name] for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")},
        "root": sorted(os.listdir("/")),
        "ps": [str(attempt(read, f"/proc/{pid}/cmdline")).replace("\0", " ").strip() for pid in pids],
        "hostname": socket.gethostname(),
        "root_of_1": attempt(os.listdir, "/proc/1/root"),
        "environ_of_1": attempt(read, "/proc/1/environ"),
        "links": sorted(os.listdir("/sys/class/net")) if os.path.isdir("/sys/class/net") else links(),
        "python": [sys.prefix, sys.base_prefix],
        "homes": attempt(os.listdir, os.environ.get("LOOK_AT", "/nowhere")),
        "own_name": attempt(socket.gethostbyname, socket.gethostname()),
        "pid": os.getpid(),
        "cwd": os.getcwd(),
    }


def links() -> list[str]:
    lines = read("/proc/net/dev").splitlines()[2:]
    return sorted(line.split(":")[0].strip() for line in lines)


@app.function(block_network=True)
def reach() -> None:
    # Of an address block for documents; nothing is sent, as there is no way to send it on.
    socket.create_connection(("192.0.2.1", 80), timeout=3)


@app.function(memory=(64, 128))
def eat() -> None:
    kept: list[bytearray] = []
    while True:
        kept.append(bytearray(1 << 20))
        time.sleep(0.001)


@app.function()
def spread() -> None:
    for _ in range(100_000):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


@app.function(timeout=1)
def slow() -> None:
    time.sleep(60)


@app.function()
def leave() -> None:
    os._exit(7)


@app.function()
def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@app.function()
def nap(seconds: float) -> int:
    print("napping", flush=True)
    time.sleep(seconds)
    return os.getpid()


def ending(function: squall.Function[[], Any]) -> str:
    try:
        return repr(function.remote())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return f"{type(error).__name__}: {error} {' '.join(getattr(error, '__notes__', ()))}"


@app.local_entrypoint()
def main(what: str = "look") -> None:
    if what == "look":
        found: dict[str, Any] = look.remote()
    else:
        found = {name: ending(app.functions[name]) for name in what.split(",")}
    print("FOUND", json.dumps(found))
