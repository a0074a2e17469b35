"""Watch: what a user sees of a run: steps, notes, and the output of containers."""

from __future__ import annotations

import sys
from typing import Any, Protocol, TextIO


class Watcher(Protocol):
    """Is told what happens; `on_event` comes on the client's loop."""

    def step(self, name: str, text: str) -> None:
        """Something is being done before functions can be called."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def opened(self, app: str, functions: list[str]) -> None:
        """The app can be called."""

    def on_event(self, head: dict[str, Any], payload: memoryview) -> None:
        """What the server tells: {"log": function, "container": id, "L": rows} with the text, {"build": …}, …"""

    def closed(self) -> None:
        """The app has ended."""


class Output:
    """Output of containers, put onto this process's own streams; prefixed by container once there are several."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._last = ""
        self.at_line_start = True
        """Whether what was written last ended its line."""

    def write(self, head: dict[str, Any], payload: memoryview) -> None:
        """Writes the records of one frame in their order."""
        container = head["container"]
        self._seen.setdefault(container, len(self._seen) + 1)
        at = 0
        for tag, size, _when in head["L"]:
            text = bytes(payload[at : at + size]).decode("utf-8", "replace")
            at += size
            stream = sys.stdout if tag == "o" else sys.stderr
            stream.write(self._prefixed(head["log"], container, text))
            stream.flush()

    def _prefixed(self, function: str, container: str, text: str) -> str:
        if not text:
            return text
        interrupts = not self.at_line_start and container != self._last
        goes_on = not self.at_line_start and container == self._last
        self._last, self.at_line_start = container, text.endswith("\n")
        if len(self._seen) < 2:
            return text
        # Not splitlines: it cuts at form feeds and the like too, which are part of a line here.
        lines = text.split("\n")
        ending = lines.pop()
        whole = [line + "\n" for line in lines] + ([ending] if ending else [])
        prefix = f"[{function} {self._seen[container]}] "
        shown = "".join((prefix if place or not goes_on else "") + line for place, line in enumerate(whole))
        return "\n" + shown if interrupts else shown


class PlainWatcher:
    """For scripts: output of containers on stdout and stderr, notes on stderr, nothing else."""

    def __init__(self, errors: TextIO | None = None) -> None:
        self._output = Output()
        self._errors = errors

    def step(self, name: str, text: str) -> None:
        """See Watcher."""

    def note(self, text: str) -> None:
        """See Watcher."""
        print(f"note: {text}", file=self._errors or sys.stderr)

    def opened(self, app: str, functions: list[str]) -> None:
        """See Watcher."""

    def on_event(self, head: dict[str, Any], payload: memoryview) -> None:
        """See Watcher."""
        if "log" in head:
            self._output.write(head, payload)
        elif "note" in head:
            self.note(describe_note(head["note"]))
        elif head.get("build", {}).get("line"):
            print(head["build"]["line"], file=self._errors or sys.stderr)

    def closed(self) -> None:
        """See Watcher."""


_watching: list[Watcher] = []


def begin_watching(watcher: Watcher) -> None:
    """From now on it shows what is done beside calls too."""
    _watching.append(watcher)


def end_watching(watcher: Watcher) -> None:
    """It shows that no more."""
    if watcher in _watching:
        _watching.remove(watcher)


def watcher_now() -> Watcher:
    """Who shows what is done now: the watcher of the app that was opened last and still runs, or else a plain one."""
    return _watching[-1] if _watching else PlainWatcher()


def describe_note(note: str) -> str:
    """A note of the server in words."""
    if note == "process":
        return (
            "this machine allows no containers, so functions run at level `process`: as your user, with your files, "
            "your network and your processes in reach; memory and process limits hold, nothing else is kept apart"
        )
    if note == "host network":
        return (
            "this machine gives your user no way to join containers to the network, so they share the host's: whatever "
            "listens on its loopback, and every device that it has, is in their reach; `squall doctor` says what to "
            "install, and `block_network=True` leaves a function without"
        )
    if note == "process_asked":
        return (
            "functions at level `process` run as your user, with your files, your network and your processes in reach; "
            "memory and process limits hold, nothing else is kept apart"
        )
    return note
