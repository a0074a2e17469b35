"""Batch: makes many attempts in one container, each in a process of its own, and prints what each met.

These modules run inside containers, on whatever Python is there: the standard library only.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import signal
import time
from typing import Any

from tests.linux.hostile.inside.attempts import CLONE_NEWNS, Facts, Met

PACKAGE = "tests.linux.hostile.inside"
_PATIENCE_S = 20.0


def main() -> None:
    """Make the attempts that the environment names, and print a JSON object for each: what it met, by its name."""
    asked: dict[str, Any] = json.loads(os.environ["HOSTILE"])
    facts: Facts = asked["facts"]
    for code in asked["attempts"]:
        met = _here(code, facts) if code in asked["here"] else _apart(code, facts)
        print(json.dumps({code: met}), flush=True)


def _here(code: str, facts: Facts) -> Met:
    """In this very process: for what looks at the runner itself."""
    module, _, name = code.partition(".")
    try:
        met: Met = getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)(facts)
    except Exception as problem:  # noqa: BLE001 - an attempt that fails in itself must not pass for a refusal
        return {"broken": f"{type(problem).__name__}: {problem}"}
    return met


def _apart(code: str, facts: Facts) -> Met:
    """In a child: what it changes, or what ends it, disturbs no other attempt."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        if facts.get("own_mounts"):
            _keep_mounts()
        told = json.dumps(_here(code, facts)).encode()
        while told:
            told = told[os.write(write, told) :]
        os._exit(0)
    os.close(write)
    said = _read(read)
    os.close(read)
    if said is None:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if said:
        met: Met = json.loads(said)
        return met
    return {"broken": "no answer in time" if said is None else f"ended with {status}"}


def _keep_mounts() -> None:
    """What is mounted from here on, the host never sees."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(CLONE_NEWNS) == 0
    assert libc.mount(b"", b"/", b"", 0x44000, None) == 0


def _read(fd: int) -> bytes | None:
    """All that comes; None where the end does not come in time."""
    said = b""
    until = time.monotonic() + _PATIENCE_S
    while select.select([fd], [], [], max(0.0, until - time.monotonic()))[0]:
        got = os.read(fd, 65536)
        if not got:
            return said
        said += got
    return None
