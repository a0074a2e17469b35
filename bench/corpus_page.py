"""The page of the corpus: rows of verdicts and forks, and what owners of functions should change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

_HEAD = """# What can be forked

<!-- made by bench/corpus.py; run it instead of editing this -->

A container starts in milliseconds when it is forked from a *template*: a process that has the function's imports done. Not
every process survives being forked: a fork copies the memory and the one thread that asks for it, and nothing of the other
threads but the locks that they held. So a template is looked at before it is used, and one that cannot be forked safely is
refused: its function's containers start in an interpreter of their own, which takes as long as its imports do.

This page shows what the gate says to packages that people use, and what became of real forks of each. The children ran
two at a time, beside busy processes that held every core, until there had been 1,000 or the package's time was over: the
table says how many there were. Each was renewed as a container is, got two threads for its native libraries, drew random
numbers that no other child may draw, did real work with the package, and checked the result.

The libraries start with one thread, as in every template. Where they start as they like (`bench/corpus.py --loud`), numpy and
torch are refused, and the children of a torch that was used hang.

- *imported*: the template imports the package and does nothing else with it.
- *used*: the template also does the work once itself before it is judged, as code at the top of a module would.
- *bad*: children that hung (30 s), crashed, or gave a wrong result. A package judged safe with one of these fails the run.
"""

_OWNERS = """
## What to change when a function is refused

| what the gate found | what to do |
|---|---|
| a thread, an executor with threads, a timer | start it inside the function, or in an `@enter` hook, which runs in each container |
| a socket, a pipe, an event loop, a client with connections | the same; `asyncio.run` makes its loop in the container |
| a file open for writing, a directory, shared memory | open it inside the function |
| a session or an index of native code that has its own threads | make it in an `@enter` hook |
| a GPU that was used | move models and tensors to it in an `@enter` hook |
| a process that was started | start it inside the function |
| a package that starts threads when it is imported | import it inside the function |

## What is different in a fork

- Global generators of random numbers are drawn anew in each container: `random`, numpy's and torch's. A generator *object* of
  your own (`numpy.random.default_rng()`, `random.Random()`) made at import is not: it gives the same numbers in every container,
  so make it inside the function. A seed that was set at import for the global generators is lost in the same way.
- The hash seed and the addresses in memory are the same in all containers of a template. They never leave the function: a template
  is not shared with another function, version or workspace.
- Native libraries are imported with one thread, and get the container's own number afterwards. A number that your code sets while
  it is imported stays. `OMP_NUM_THREADS` and its like, where the container's environment sets them, count as always.
  OpenMP's number of threads belongs to a thread: other threads than the main one keep one, except in torch.
- Output that was printed while importing is printed once, not by every container.
- onnxruntime's telemetry is off in a template.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What became of one template of a package. error: why nothing is known of it, or nothing."""

    used: bool
    error: str = ""
    safe: bool = False
    reasons: tuple[tuple[str, str], ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    canary: tuple[str, str] = ("", "")
    import_s: float = 0.0
    rss_mb: float = 0.0
    collapsed_mb: float = 0.0
    forks: int = 0
    hangs: int = 0
    crashes: int = 0
    wrong: int = 0
    fork_ms: dict[str, Any] | None = None
    told: str = ""

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Trial:
        """The same, from what asdict gave or a template said."""
        known = {one.name for one in fields(cls)}
        pairs = {name: tuple(tuple(one) for one in found.get(name, ())) for name in ("reasons", "warnings")}
        rest = {name: value for name, value in found.items() if name in known and name not in pairs}
        return cls(**{**rest, **pairs, "canary": tuple(found.get("canary", ("", "")))})

    @property
    def bad(self) -> int:
        """How many children failed, in whatever way."""
        return self.hangs + self.crashes + self.wrong

    @property
    def is_false(self) -> bool:
        """Whether it was judged safe, and was not."""
        return self.safe and (self.bad > 0 or self.canary[0] != "healthy")

    def told_shortly(self) -> str:
        """A line of progress."""
        if self.error:
            return f"{self.name} FAILED {self.error}"
        words = ", ".join(dict.fromkeys(word for word, _ in self.reasons))
        verdict = "safe" if self.safe else f"refused ({words})"
        return f"{self.name} {verdict}, {self.forks} forks, {self.bad} bad{' FALSE' if self.is_false else ''}"

    @property
    def name(self) -> str:
        """How the page calls it."""
        return "used" if self.used else "imported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A package with its trials. absent: why it could not be installed, or nothing."""

    package: str
    version: str = ""
    absent: str = ""
    trials: tuple[Trial, ...] = ()

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Row:
        """The same, from what asdict gave."""
        return cls(**{**found, "trials": tuple(Trial.from_json(one) for one in found["trials"])})


def false_verdicts(rows: Iterable[Row]) -> list[str]:
    """The packages that were judged safe and were not, or of which nothing is known though they are there."""
    return [
        f"{row.package} ({trial.name})"
        for row in rows
        for trial in row.trials
        if trial.is_false or trial.error
    ]


def page(kept: dict[str, Any]) -> str:
    """The whole page. kept: the machine, the date and the rows, as bench/corpus.py writes them."""
    rows = [Row.from_json(row) for row in kept["rows"]]
    here = kept.get("machine", {})
    lines = [
        _HEAD,
        (
            f"Run on {kept.get('date', '')} with Python {here.get('python', '')} on {here.get('cpus', '')} cores shared with "
            f"other work, kernel {here.get('kernel', '')}, beside {kept.get('busy', 0)} busy processes. Fork times are of that "
            "loaded machine, from the call to the child's first line."
        ),
        "",
        "| package | version | imported | forks | bad | used | forks | bad | fork ms, p50 | import s | memory MiB |",
        "|---|---|---|--:|--:|---|--:|--:|--:|--:|--:|",
        *(_line(row) for row in rows if not row.absent),
        "",
        *_absent(rows),
        "## Why a template was refused",
        "",
        *_refusals(rows),
        _OWNERS.strip(),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _line(row: Row) -> str:
    imported, used = row.trials
    cells = [row.package, row.version, *_cells(imported), *_cells(used)]
    if imported.error:
        return f"| {' | '.join([*cells, '', '', ''])} |"
    fork = f"{imported.fork_ms['p50']:.1f}" if imported.fork_ms else ""
    return f"| {' | '.join([*cells, fork, f'{imported.import_s:.1f}', f'{imported.rss_mb:.0f}'])} |"


def _cells(trial: Trial) -> tuple[str, str, str]:
    if trial.error:
        return "not known", "", ""
    words = ", ".join(dict.fromkeys(word for word, _ in trial.reasons))
    return "safe" if trial.safe else f"refused: {words}", f"{trial.forks:,}", str(trial.bad)


def _absent(rows: list[Row]) -> list[str]:
    absent = [row for row in rows if row.absent]
    if not absent:
        return []
    return ["Not installed, so not known:", "", *(f"- {row.package}: {row.absent}" for row in absent), ""]


def _refusals(rows: list[Row]) -> list[str]:
    lines = []
    for row in rows:
        for trial in row.trials:
            if trial.error or trial.safe:
                continue
            lines.append(f"**{row.package}**, {trial.name}:")
            lines.append("")
            lines += [f"- {told}" for _, told in trial.reasons]
            if trial.bad:
                lines.append(
                    f"- of {trial.forks} forks all the same, {trial.hangs} hung, {trial.crashes} crashed and "
                    f"{trial.wrong} failed"
                )
            lines.append("")
    return lines or ["None was.", ""]
