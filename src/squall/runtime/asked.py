"""Asked: what a program of this machine answers, bounded in time and in bytes."""

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final, Literal

_READ_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program said, and with which status it ended; a negative one for a signal."""

    status: int
    said: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """How a program is asked. within_s: seconds until it must have ended. most_bytes: of what it says. told: what it reads, some hundred
    bytes at most. listens: to what of it is listened; the rest is dropped. env: None for this process's own.
    """

    within_s: float
    most_bytes: int = 1 << 20
    told: bytes = b""
    listens: Literal["out", "err"] = "out"
    env: Mapping[str, str] | None = None


class TooMuchSaidError(Exception):
    """A program that says more than anybody wants to hear."""


async def ask(argv: Sequence[str], how: Ask) -> Answer:
    """What the program says until it ends. One that is given up is killed, with what it has started and left in its session.

    Not by asyncio, which says that a program has ended only once somebody has read all that it and its children ever wrote.
    Raises OSError where it cannot be started, TimeoutError, TooMuchSaidError.
    """
    process = subprocess.Popen(  # noqa: ASYNC220 - nothing is waited for but its start, as by asyncio
        argv,
        cwd="/",
        env=None if how.env is None else dict(how.env),
        stdin=subprocess.PIPE if how.told else subprocess.DEVNULL,
        stdout=subprocess.PIPE if how.listens == "out" else subprocess.DEVNULL,
        stderr=subprocess.PIPE if how.listens == "err" else subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return await asyncio.to_thread(_listen, process, how)
    except asyncio.CancelledError:
        _end(process)  # so that nobody listens any longer
        raise


def _listen(process: subprocess.Popen[bytes], how: Ask) -> Answer:
    deadline_s = time.monotonic() + how.within_s
    pipe = process.stdout if how.listens == "out" else process.stderr
    assert pipe is not None, "it was asked for"
    try:
        if process.stdin is not None:
            # It may not care.
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(how.told)
        said = _read(pipe, how.most_bytes, deadline_s)
        try:
            return Answer(process.wait(max(0.0, deadline_s - time.monotonic())), said)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
    finally:
        pipe.close()
        _end(process)
        process.wait()


def _read(pipe: IO[bytes], most_bytes: int, deadline_s: float) -> bytes:
    said = bytearray()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while poll.poll(max(0.0, deadline_s - time.monotonic()) * 1e3):
        part = os.read(pipe.fileno(), _READ_BYTES)
        said += part
        if not part:
            return bytes(said)
        if len(said) > most_bytes:
            raise TooMuchSaidError
    raise TimeoutError


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends it and what it started, which its number names as long as nobody has taken up its end."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
