"""Progress: what a run shows: a status line and marks on a terminal, plain lines elsewhere, output in between."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import click

from squall.cli.screen import plain
from squall.sdk.map_progress import LINE_EVERY_S, MapSeen, ended_in_words
from squall.sdk.output import ToldLines, bars_text
from squall.sdk.status_line import StatusLine, is_lively
from squall.sdk.watch import describe_note

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


class RunWatcher:
    """A `squall.sdk.watch.Watcher` for the command line. On a terminal a status line stays below all output."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        stream = stream or sys.stderr
        self._quiet = quiet
        self._live = not quiet and is_lively(stream)
        self._status = StatusLine(stream, live=self._live)
        self._lines = ToldLines()
        self._bars: Sequence[MapSeen] = ()
        self._running: dict[str, tuple[int, int]] = {}
        self._started = time.monotonic()
        self._open = False
        self._failed = False
        if self._live and sys.stdout.isatty():
            self._status.take_streams()

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
            self._status.write_output(head, payload)
        elif "containers" in head:
            self._running[head["containers"]] = (head["running"], head["starting"])
            self._show_progress()
        elif "waiting" in head:
            reason = head.get("words") or _REASONS.get(head["reason"], head["reason"])
            self._line("wait", f"{head['waiting']} inputs of {head['function']} wait: {reason}")
        elif "note" in head:
            self.note(describe_note(head["note"]))
        elif head.get("build", {}).get("line"):
            self._line("", plain(head["build"]["line"]))

    def maps(self, running: Sequence[MapSeen], ended: MapSeen | None) -> None:
        """See ShowsMaps."""
        if self._quiet:
            return
        if not self._live:
            for line in self._lines.lines(running, ended, now_s=time.monotonic()):
                self._line("", plain(line))
            return
        self._bars = running
        self._show_progress()
        if ended is not None and ended.took_s >= LINE_EVERY_S:
            failed = ended.failed or (ended.total is not None and ended.done < ended.total)
            self._line("note" if failed else "done", plain(ended_in_words(ended)))

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

    def _show_progress(self) -> None:
        count = self._count()
        if self._bars:
            beside = f"  {count}" if count else ""
            bars = bars_text(self._bars, width=self._status.width - len(beside))
            self._show(plain(bars) + beside)
        else:
            self._show(count)

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
        self._status.write_line(text)

    def _show(self, text: str) -> None:
        self._status.show(text)
