"""`squall logs`: what containers, or our own processes, have printed."""

import json
import os
import re
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import click

from squall.cli.amounts import seconds_in
from squall.cli.asking import any_client, follow
from squall.cli.screen import coloured, plain, say
from squall.model.errors import UsageError
from squall.settings.paths import find_state
from squall.wire.codec import Frame

_STYLES = ("cyan", "magenta", "green", "yellow", "blue")


@click.command()
@click.argument("app", required=False)
@click.option("-f", "--follow", "following", is_flag=True, help="Go on as more is printed.")
@click.option("--since", default="", metavar="AGE", help="Only what is not older: 30s, 10m, 2h, 1d.")
@click.option("--function", default="", help="Only of this function.")
@click.option("--container", default="", help="Only of this container.")
@click.option("--grep", default="", metavar="REGEX", help="Only lines in which it is found.")
@click.option("-n", "--lines", default=1000, show_default=True, help="At most so many lines of the past.")
@click.option("--server", "process", flag_value="server", help="The server's own log.")
@click.option("--agent", "process", flag_value="agent", help="The agent's own log.")
@click.option("--supervisor", "process", flag_value="supervisor", help="The supervisor's own log.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def logs(*, process: str | None, lines: int, grep: str, as_json: bool, **wish: Any) -> None:
    """Show what the containers of an APP (or all) have printed, or one of our own processes."""
    wanted = _pattern(grep)
    if process is not None:
        _own(find_state().log(process), lines, wanted)
        return
    since_s = time.time() - seconds_in("--since", wish["since"]) if wish["since"] else None
    head = {
        "app": wish["app"] or None,
        "function": wish["function"] or None,
        "container": wish["container"] or None,
        "since": since_s,
        "follow": wish["following"],
        "lines": lines,
    }
    printer = LogPrinter(as_json=as_json, wanted=wanted)
    follow(any_client(), "logs", head, printer.take)


class LogPrinter:
    """Prints the records of DATA frames: "log" the function, "container", "L" rows of [stream, bytes, seconds]."""

    def __init__(self, *, as_json: bool, wanted: re.Pattern[str]) -> None:
        self._as_json = as_json
        self._wanted = wanted
        self._styles: dict[str, str] = {}

    def take(self, frame: Frame) -> None:
        head, at = frame.head(), 0
        payload = memoryview(frame.payload)
        for stream, size, when_s in head.get("L", []):
            text = bytes(payload[at : at + size]).decode(errors="replace")
            at += size
            for line in text.splitlines():
                if self._wanted.search(line):
                    self._print(
                        str(head.get("log", "")), str(head.get("container", "")), (stream, line, when_s)
                    )

    def _print(self, function: str, container: str, row: tuple[str, str, float]) -> None:
        stream, line, when_s = row
        if self._as_json:
            record = {
                "ts": when_s,
                "function": function,
                "container": container,
                "stream": stream,
                "text": line,
            }
            click.echo(json.dumps(record))
            return
        style = self._styles.setdefault(container, _STYLES[len(self._styles) % len(_STYLES)])
        label = (
            f"{time.strftime('%H:%M:%S', time.localtime(when_s))} {plain(function)}[{plain(container)[-6:]}]"
        )
        if coloured(sys.stdout):
            label = click.style(label, fg=style)
        click.echo(f"{label} {plain(line)}", color=True)


def _own(path: Path, lines: int, wanted: re.Pattern[str]) -> None:
    """The newest lines of one of our own logs, with what was turned over."""
    newest: deque[str] = deque(maxlen=lines)
    for name in [*(f"{path}.{number}" for number in (3, 2, 1)), str(path)]:
        if os.path.exists(name):
            with open(name, encoding="utf-8", errors="replace") as file:
                newest.extend(line.rstrip("\n") for line in file if wanted.search(line))
    for line in newest:
        say(plain(line))


def _pattern(grep: str) -> re.Pattern[str]:
    try:
        return re.compile(grep)
    except re.error as problem:
        raise UsageError(
            f"--grep {grep!r} is no regular expression: {problem}", remedy="correct it"
        ) from None
