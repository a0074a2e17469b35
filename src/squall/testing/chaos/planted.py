"""Planted bugs: the source with one thing wrong in it, and which layer of the suite finds that."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from squall.testing.chaos.adoption import Map, adoption
from squall.testing.chaos.catalogue import FAULTS
from squall.testing.chaos.house import SOURCES
from squall.testing.chaos.order import can_trace, fsync_order
from squall.testing.chaos.points import run_armed
from squall.testing.chaos.report import Report
from squall.testing.chaos.storm import Weather, storm

PATIENCE_S: Final = 25.0
Layer = Callable[[Path], Report]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """One thing wrong. changes: (file below the package, what stands there once, what stands there instead). layer: what finds it."""

    name: str
    changes: tuple[tuple[str, str, str], ...]
    layer: str
    seek: Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Whether a bug was found, and by what it showed. found: None where its layer cannot run here."""

    bug: Bug
    found: bool | None
    shown: str


def _armed(*settings: str) -> Layer:
    """Runs armed so, one after the other, to the first that does not hold: what a frame holds as it is lost is a matter of luck."""

    def seek_in(sources: Path) -> Report:
        for setting in settings:
            report = run_armed(setting, patience_s=PATIENCE_S, sources=sources)
            if not report.holds:
                break
        return report

    return seek_in


def _storm_of(number: str, sources: Path) -> Report:
    """A short storm of one fault alone."""
    faults = [fault for fault in FAULTS if fault.number == number]
    return storm(Weather(minutes=0.3, least_s=0.5, most_s=1.0, faults=faults), sources=sources)


def _points(
    name: str, settings: str | tuple[str, ...], *changes: tuple[str, str, str], layer: str = "crash points"
) -> Bug:
    armed = (settings,) if isinstance(settings, str) else settings
    return Bug(name=name, changes=changes, layer=layer, seek=_armed(*armed))


_TAKEN = "        faults.point(_TAKEN)\n        await self._store.record_call(record, chunks)\n"
_TOLD = '        faults.point(_RECORDED)\n        if stream is not None:\n            stream.end({"call": call.id})\n'

BUGS: tuple[Bug, ...] = (
    _points(
        "a call is accepted before it is on record",
        "server/call.taken:1",
        # The pause sends what was told, which may wait for the end of what else has come in one read.
        (
            "server/durable.py",
            _TAKEN,
            '        if stream is not None:\n            stream.end({"call": call.id})\n        await asyncio.sleep(0.01)\n'
            + _TAKEN,
        ),
        ("server/durable.py", _TOLD, "        faults.point(_RECORDED)\n"),
    ),
    Bug(
        name="a commit does not wait for the disk",
        changes=(
            (
                "server/main.py",
                "synchronous = Synchronous(options.sqlite_synchronous)",
                "synchronous = Synchronous.NORMAL",
            ),
        ),
        layer="system calls",
        seek=lambda sources: fsync_order(least=100, sources=sources),
    ),
    _points(
        "what is lost on its way to a container is never given out again",
        ("agent/relay.going:9,agent/relay.coming:7", "agent/relay.going:7", "agent/relay.going:9"),
        (
            "server/containers.py",
            "            self._take_back_missing(worker)\n",
            "            worker.missing = []\n",
        ),
    ),
    _points(
        "a client that has lost its connection sends nothing again",
        "server/lease.sent:9",
        (
            "sdk/client.py",
            "            for lasting in sorted(self._lasting, key=lambda item: item.rank):\n",
            "            for lasting in sorted(self._lasting, key=lambda item: item.rank)[: self._lost_ones]:\n",
        ),
        (
            "sdk/client.py",
            "    def _lost(self, session: Session) -> None:\n",
            "    _lost_ones: int | None = None\n\n    def _lost(self, session: Session) -> None:\n        self._lost_ones = 0\n",
        ),
    ),
    _points(
        "a container lets go of outcomes that nobody has acknowledged",
        "agent/relay.coming:13",
        (
            "runner/link.py",
            "                for _number, frame, payload in self._outbox:\n",
            "                for _number, frame, payload in ():\n",
        ),
    ),
    Bug(
        name="an agent takes over no container of the one before",
        changes=(
            (
                "agent/containers.py",
                '                alive.add(row["container"])\n',
                '                alive.add(row["container"])\n                continue\n',
            ),
        ),
        layer="adoption",
        seek=lambda sources: adoption(
            "agent", Map(inputs=600, containers=4), recovered_within_s=60.0, sources=sources
        ),
    ),
    _points(
        "calls on record are not gone on with",
        "server/outcome.taken:1",
        (
            "server/durable.py",
            "            if found.call.id not in self._calls.calls and found.call.id not in self._pager:\n",
            "            if False:\n",
        ),
        (
            "server/durable.py",
            "        elif earlier is not None and call.id not in self._calls.calls:\n",
            "        elif False:\n",
        ),
    ),
    Bug(
        name="an input whose container was lost is given up at once",
        changes=(("scheduling/retry.py", "    return losses <= most\n", "    return False\n"),),
        layer="storm",
        seek=partial(_storm_of, "F09"),
    ),
    Bug(
        name="the app of a client that is gone is kept",
        changes=(
            (
                "server/apps.py",
                '                record.kind == "ephemeral"\n',
                '                record.kind == ""\n',
            ),
        ),
        layer="storm",
        seek=partial(_storm_of, "F23"),
    ),
    _points(
        "what a killed launcher has left stays",
        "launcher/exit.taken:1",
        ("supervisor/sweep.py", "    if not os.listdir(paths.scratch):\n", "    if True:\n"),
        ("agent/tidying.py", "        if os.listdir(self._paths.scratch):\n", "        if False:\n"),
        layer="leaks",
    ),
    _points(
        "the control group of a container stays",
        "server/lease.taken:7",
        (
            "runtime/launcher/serve.py",
            "            removed = container.group is None or container.group.remove()\n",
            "            removed = True\n",
        ),
        layer="leaks",
    ),
    Bug(
        name="a descriptor stays open of each call",
        changes=(
            (
                "server/api.py",
                "    house.calls.submit(record, head, frame)\n",
                '    house.calls.submit(record, head, frame)\n    __import__("os").dup(0)\n',
            ),
        ),
        layer="leaks",
        seek=partial(_storm_of, "F09"),
    ),
)


def seek(bug: Bug) -> Sought:
    """Plants a bug in a copy of the source, and runs the layer that is to find it."""
    if bug.layer == "system calls" and not can_trace():
        return Sought(bug=bug, found=None, shown="strace is not installed")
    with planted(bug) as sources:
        report = bug.seek(sources)
    return Sought(bug=bug, found=not report.holds, shown=_shown(report))


@contextmanager
def planted(bug: Bug) -> Iterator[Path]:
    """A directory with the package, in which the bug is."""
    folder = Path(tempfile.mkdtemp(prefix="squall-bug-"))
    try:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(SOURCES / "squall", folder / "squall", ignore=ignored)
        for file, old, new in bug.changes:
            path = folder / "squall" / file
            text = path.read_text(encoding="utf-8")
            if text.count(old) != 1:
                raise ValueError(f"{bug.name}: {file} has {text.count(old)} times {old!r}")
            path.write_text(text.replace(old, new), encoding="utf-8")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _shown(report: Report) -> str:
    """In a few words, by what it shows."""
    counts = {
        "lost": report.lost,
        "doubled": report.doubled,
        "stuck": report.stuck,
        "left": sum(map(len, report.left.values())),
    }
    words = [f"{often} {what}" for what, often in counts.items() if often]
    first = report.broken[0].splitlines()[0][:90] if report.broken else ""
    return ", ".join(words) or first or "nothing"
