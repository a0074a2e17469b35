"""Attach: a command inside a container, joined to this terminal or these pipes."""

import contextlib
import fcntl
import os
import select
import shutil
import socket
import struct
import sys
import termios
import threading
import tty as terminal
from collections.abc import Sequence

from squall.cli.screen import plain, say_wrapped
from squall.model.errors import ExecutionError
from squall.sdk.blocking import loop_thread, run_blocking
from squall.sdk.client import Client
from squall.wire.codec import Frame
from squall.wire.ends import Ends
from squall.wire.stream import Stream

_PIECE = 64 * 1024
_PRINTED_WITHIN_S = 30.0
"""How long whoever reads what a command on another machine has printed may take over the last of it."""


def run_in_container(client: Client, container: str, argv: Sequence[str], *, tty: bool | None) -> int:
    """The exit status of `argv` inside the container; 128 and the signal's number where a signal ended it.

    The server hands over the ends of a terminal or of three pipes; from then on nothing of what is typed or
    printed passes through it. tty None: a terminal if standard input and output are one.
    """
    return _run(client, ("container.exec", {"container": container}), argv, tty=tty)


def run_over_image(client: Client, key: str, argv: Sequence[str], *, tty: bool | None) -> int:
    """The same over an image, in a sandbox that is made for it and goes with it."""
    return _run(client, ("image.shell", {"key": key}), argv, tty=tty)


def _run(
    client: Client, where: tuple[str, dict[str, object]], argv: Sequence[str], *, tty: bool | None
) -> int:
    question, place = where
    wants_tty = sys.stdin.isatty() and sys.stdout.isatty() if tty is None else tty
    columns, rows = shutil.get_terminal_size()
    head: dict[str, object] = {
        **place,
        "argv": list(argv),
        "tty": wants_tty,
        "rows": rows,
        "cols": columns,
    }
    if wants_tty and "TERM" in os.environ:
        head["env"] = {"TERM": os.environ["TERM"]}
    joined = _Joined(wants_tty=wants_tty)
    try:
        ended = run_blocking(client.follow(question, head, joined.take, on_open=joined.open))
    finally:
        joined.finish()
    if ended.get("signal"):
        return 128 + int(ended["signal"])
    if ended.get("code") is None:
        raise ExecutionError("the command ended, and nobody knows how")
    return int(ended["code"])


class _Joined:
    """The ends that the server handed over, and the thread that copies between them and our own."""

    def __init__(self, *, wants_tty: bool) -> None:
        self._wants_tty = wants_tty
        self._copying: threading.Thread | None = None
        self._before: list[object] | None = None
        self._stream: Stream | None = None
        self._apart: Ends | None = None
        self._ended, self._end = os.pipe2(os.O_CLOEXEC)

    def open(self, stream: Stream) -> None:
        """On this stream the ends come, or what is said of those that stay on another machine."""
        self._stream = stream

    def take(self, frame: Frame) -> None:
        """The ends arrive: one of a terminal, or those of standard input, output and error."""
        if self._apart is not None:
            self._apart.take(frame)
            return
        if self._wants_tty and (label := frame.head().get("label")):
            say_wrapped(f"in the image: {plain(label)}; nothing of what is done here is kept", err=True)
        ends = frame.take_fds()
        if frame.head().get("ends") and not ends:
            ends = self._ends_apart()
        if not ends or self._copying is not None:
            for end in ends:
                os.close(end)
            return
        if self._wants_tty:
            self._take_terminal(ends[0])
            source, sinks = {0: ends[0]}, {ends[0]: 1}
        else:
            source, sinks = {0: ends[0]}, {ends[1]: 1, ends[2]: 2}
        self._copying = threading.Thread(target=self._copy, args=(source, sinks), daemon=True)
        self._copying.start()

    def _ends_apart(self) -> tuple[int, ...]:
        """Ends of our own in place of those that stay on another machine: what goes through them travels on the stream."""
        assert self._stream is not None, "it was opened before anything came on it"
        if self._wants_tty:
            ours, theirs = socket.socketpair()
            self._apart = Ends(self._stream, (theirs.detach(),), reads=(0,), writes=(0,))
            return (ours.detach(),)
        (source, typed), (out, printed), (err, complained) = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
        self._apart = Ends(self._stream, (source, printed, complained), reads=(0,), writes=(1, 2))
        return typed, out, err

    def finish(self) -> None:
        """Print what is left, and give the terminal back. What a grandchild prints later is not waited for."""
        if self._apart is not None:
            # All of it has come, and is not yet printed: the copying ends by itself when it is.
            loop_thread().post(self._apart.end_writes)
            if self._copying is not None:
                self._copying.join(_PRINTED_WITHIN_S)
        os.close(self._end)
        if self._copying is not None:
            self._copying.join(1.0)
        if self._apart is not None:
            loop_thread().post(self._apart.close)
        if self._before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]  # as tcgetattr gave it

    def _take_terminal(self, end: int) -> None:
        def resize(*_: object) -> None:
            columns, rows = shutil.get_terminal_size()
            if self._apart is not None:
                loop_thread().post(self._say_size, rows, columns)
                return
            with contextlib.suppress(OSError):
                fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

        resize()
        if sys.stdin.isatty():
            self._before = termios.tcgetattr(0)
            terminal.setraw(0, termios.TCSADRAIN)  # what was typed ahead is kept

    def _say_size(self, rows: int, columns: int) -> None:
        if self._stream is not None and self._stream.live:
            self._stream.send({"size": [rows, columns]})

    def _copy(self, source: dict[int, int], sinks: dict[int, int]) -> None:
        """Copy until every sink's end is closed on the other side, or the command has ended and all is read."""
        ended = False
        while sinks:
            ready, _, _ = select.select(
                [*source, *sinks, *(() if ended else (self._ended,))], [], [], 0 if ended else None
            )
            if not ready:
                return
            ended = ended or self._ended in ready
            for end in ready:
                if end in sinks and not _pass_on(end, sinks[end]):
                    del sinks[end]
                elif end in source and (ended or not _pass_on(end, source[end])):
                    to = source.pop(end)
                    if not self._wants_tty:
                        os.close(to)


def _pass_on(end: int, to: int) -> bool:
    """Whether there was something to pass on; False at the end of either side."""
    try:
        piece = os.read(end, _PIECE)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(to, rest) :]
    except OSError:  # EIO: the terminal's last user is gone; EPIPE: nobody reads
        return False
    return bool(piece)
