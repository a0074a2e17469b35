"""Progress: what a run shows: a status line and marks on a terminal, plain lines elsewhere, output in between."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, TextIO, cast

import click

from squall.cli.screen import coloured, plain
from squall.sdk.watch import Output, describe_note

_MARKS = {"done": ("✓", "green"), "note": ("!", "yellow"), "wait": ("…", "yellow"), "fail": ("✗", "red")}
_REASONS = {
    "container_starting": "a container is starting",
    "containers_busy": "all containers are busy",
    "no_capacity": "this machine has no room for another container",
    "no_node": "no agent has joined yet",
    "machines_returning": "the server is new, and waits a moment for the machines that run its containers",
    "crash_backoff": "its containers keep ending; the next one starts in a moment",
    "image_building": "its image is being built",
    "budget_reached": "a budget is used up; `squall budget list` says which",
    "retry_delay": "it waits for its next try",
}


class Around:
    """The program's own stream while a status line may stand on the terminal: the line makes way for what is written."""

    def __init__(self, inner: TextIO, watcher: "RunWatcher") -> None:
        self._inner = inner
        self._watcher = watcher

    def write(self, text: str) -> int:
        """Writes, with the status line out of the way."""
        return self._watcher.write_around(self._inner, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class RunWatcher:
    """A `squall.sdk.watch.Watcher` for the command line. On a terminal a status line stays below all output."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._live = not quiet and coloured(self._stream)
        self._output = Output()
        self._status = ""
        self._lock = threading.RLock()
        self._running: dict[str, tuple[int, int]] = {}
        self._started = time.monotonic()
        self._open = False
        self._failed = False
        self._own_at_start = True
        self._drawn = False
        if self._live and sys.stdout.isatty():
            sys.stdout, sys.stderr = (
                cast("TextIO", Around(sys.stdout, self)),
                cast("TextIO", Around(sys.stderr, self)),
            )

    def write_around(self, stream: TextIO, text: str) -> int:
        """Writes to the terminal where the status line stood, and puts it back below once the line is ended."""
        with self._lock:
            self._clear()
            count = stream.write(text)
            self._own_at_start = text.endswith("\n") if text else self._own_at_start
            stream.flush()
            self._draw()
            self._stream.flush()
        return count

    def step(self, name: str, text: str) -> None:
        """See Watcher."""
        if not self._live and name in ("server", "build"):
            self._line("done", text)
        self._show(text)

    def note(self, text: str) -> None:
        """See Watcher."""
        self._line("note", text)

    def opened(self, app: str, functions: list[str]) -> None:
        """See Watcher."""
        took = time.monotonic() - self._started
        names = ", ".join(functions)
        self._show("")
        self._line("done", f"{app} is ready in {took:.2f} s: {names}")
        self._open = True

    def on_event(self, head: dict[str, Any], payload: memoryview) -> None:
        """See Watcher."""
        if "log" in head:
            with self._lock:
                self._clear()
                self._output.write(head, payload)
                self._draw()
        elif "containers" in head:
            self._running[head["containers"]] = (head["running"], head["starting"])
            self._show(self._count())
        elif "waiting" in head:
            reason = head.get("words") or _REASONS.get(head["reason"], head["reason"])
            self._line("wait", f"{head['waiting']} inputs of {head['function']} wait: {reason}")
        elif "note" in head:
            self.note(describe_note(head["note"]))
        elif head.get("build", {}).get("line"):
            self._line("", plain(head["build"]["line"]))

    @contextlib.contextmanager
    def judging(self) -> Iterator[None]:
        """Notices how the program ends that runs within: the last line says it."""
        try:
            yield
        except SystemExit as ended:
            self._failed = ended.code not in {0, None}
            raise
        except BaseException:
            self._failed = True
            raise

    def closed(self) -> None:
        """See Watcher."""
        self._show("")
        if self._open and self._live:
            took = f"{time.monotonic() - self._started:.2f} s"
            self._line(*(("fail", f"failed after {took}") if self._failed else ("done", f"done in {took}")))

    def put_away(self) -> None:
        """No status line is left on the terminal."""
        self._show("")

    def interrupted(self) -> None:
        """Ctrl-C: what ran has been cancelled."""
        self._show("")
        self._line("note", "interrupted: what was running has been cancelled")

    def _count(self) -> str:
        running = sum(pair[0] for pair in self._running.values())
        total = running + sum(pair[1] for pair in self._running.values())
        return f"running ({running}/{total} containers)" if total else ""

    def _line(self, mark: str, text: str) -> None:
        if self._quiet:
            return
        sign, colour = _MARKS.get(mark, ("", ""))
        if self._live:
            text = f"{click.style(sign, fg=colour)} {text}" if sign else f"  {text}"
        else:
            text = f"{time.strftime('%H:%M:%S')} {text}"
        with self._lock:
            self._clear()
            self._stream.write(text + "\n")
            self._draw()
            self._stream.flush()

    def _show(self, text: str) -> None:
        if not self._live:
            return
        with self._lock:
            self._clear()
            self._status = text
            self._draw()
            self._stream.flush()

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()
            self._drawn = False

    def _draw(self) -> None:
        """Only where a line begins: what has been written of one must stay readable."""
        if (
            self._live
            and self._status
            and not self._drawn
            and self._own_at_start
            and self._output.at_line_start
        ):
            self._drawn = True
            self._stream.write(click.style(f"⠿ {self._status}", fg="cyan"))
