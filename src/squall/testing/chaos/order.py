"""The order of fsync and reply: a server's system calls, traced, and each acceptance compared with what was forced before it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from squall.testing.chaos.house import SOURCES, LocalHouse, eventually
from squall.testing.chaos.report import Report

TRACED: Final = "fdatasync,fsync,pwrite64,write,writev,sendmsg,sendto"
_CALL: Final = re.compile(
    r"^(?P<thread>\d+) +\d+\.\d+ (?P<name>\w+)\((?P<fd>\d+)<(?P<path>[^>]*)>(?P<rest>.*)$"
)
_RESUMED: Final = re.compile(r"^(?P<thread>\d+) +\d+\.\d+ <\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)$")
_ACCEPTED: Final = re.compile(r'\\"call\\":\\"(fc-[0-9a-f]+)\\"')
_LOAD: Final = {"spawn_one": 1200}
_WAIT_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that a server did. what: "record" (inputs of a call were written to the log of its database), "forced" (that log
    is on disk), or "accepted" (the client is told). call: of which call, where it is told.
    """

    what: str
    call: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How many acceptances there were, and the calls that were accepted before they were on disk."""

    accepted: int
    early: tuple[str, ...]


def judge(events: Iterable[Event]) -> Found:
    """Each acceptance needs a force of the log since the write that recorded it; a write that nobody forced covers nothing."""
    written: set[str] = set()
    forced: set[str] = set()
    accepted = 0
    early: list[str] = []
    for event in events:
        match event.what:
            case "record":
                written.add(event.call)
            case "forced":
                forced |= written
                written.clear()
            case "accepted":
                accepted += 1
                if event.call not in forced:
                    early.append(event.call)
    return Found(accepted=accepted, early=tuple(early))


def events_in(lines: Iterable[str], *, log: str, calls: frozenset[str]) -> Iterator[Event]:
    """The events in the lines of `strace -f -ttt -y`, each call of the system at its end.

    log: the path of the log of the database. calls: those that are looked for, in what is written.
    """
    unfinished: dict[str, str] = {}
    for line in lines:
        if line.rstrip().endswith("<unfinished ...>"):
            thread = line.split(maxsplit=1)[0]
            unfinished[thread] = line.rstrip().removesuffix("<unfinished ...>")
            # A reply is on its way from the moment at which it was begun.
            if (begun := _CALL.match(line)) and "socket:" in begun["path"]:
                yield from _told(begun["rest"], calls)
                unfinished.pop(thread)
            continue
        if resumed := _RESUMED.match(line):
            line = unfinished.pop(resumed["thread"], "") + resumed["rest"]  # noqa: PLW2901 - the two halves of one
        if found := _CALL.match(line):
            yield from _event(found, log, calls)


def _event(found: re.Match[str], log: str, calls: frozenset[str]) -> Iterator[Event]:
    name, path, rest = found["name"], found["path"], found["rest"]
    if path == log and name in {"pwrite64", "write"}:
        yield from (Event(what="record", call=call) for call in calls if call in rest)
    elif path == log and name in {"fdatasync", "fsync"} and rest.rstrip().endswith("= 0"):
        yield Event(what="forced")
    elif "socket:" in path:
        yield from _told(rest, calls)


def _told(rest: str, calls: frozenset[str]) -> Iterator[Event]:
    for call in _ACCEPTED.findall(rest):
        if call in calls:
            yield Event(what="accepted", call=call)


def can_trace() -> bool:
    """Whether `strace` is here."""
    return shutil.which("strace") is not None


def fsync_order(*, least: int = 1000, sources: Path = SOURCES) -> Report:
    """The report of so many durable calls, each made alone, against a server whose system calls are traced."""
    house = LocalHouse.made(sources=sources)
    trace = house.folder / "trace"
    tracer: subprocess.Popen[bytes] | None = None
    found = Found(accepted=0, early=())
    broken: list[str] = []
    try:
        client = house.client("order", {"call": 1, "for_s": 0.0})
        client.wait(_WAIT_S)
        server = house.processes("server")[0]
        tracer = _begin(server.pid, trace)
        eventually(lambda: trace.exists() and _traced(server.pid), 10.0)
        client = house.client("order2", {**_LOAD, "spawn_one": least + 50})
        if code := client.wait(_WAIT_S):
            broken.append(f"the client ended with {code}")
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
        calls = frozenset((house.ledger / "order2.calls").read_text().split())
        log = f"{house.paths.database}-wal"
        with trace.open(encoding="utf-8", errors="replace") as lines:
            found = judge(events_in(lines, log=log, calls=calls))
    finally:
        if tracer is not None and tracer.poll() is None:
            tracer.kill()
            tracer.wait()
        left = house.down()
    if found.accepted < least:
        broken.append(f"{found.accepted} acceptances were seen, and {least} are due")
    broken += [f"{call} was accepted before it was on disk" for call in found.early[:10]]
    figure = f"{found.accepted} durable calls traced, {len(found.early)} accepted before they were on disk"
    return Report(left=left, broken=tuple(broken), figures={"fsync before the reply": figure})


def _begin(pid: int, trace: Path) -> subprocess.Popen[bytes]:
    argv = [
        "strace",
        "-f",
        "-ttt",
        "-y",
        "-s",
        "65536",
        "-e",
        f"trace={TRACED}",
        "-o",
        str(trace),
        "-p",
        str(pid),
    ]
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _traced(pid: int) -> bool:
    """Whether somebody traces each thread of a process."""
    states = [
        Path(f"/proc/{pid}/task/{task}/status").read_text(encoding="ascii").splitlines()
        for task in os.listdir(f"/proc/{pid}/task")
    ]
    return all(int(_field(lines, "TracerPid:")) for lines in states)


def _field(lines: list[str], name: str) -> str:
    return next(line.split()[1] for line in lines if line.startswith(name))
