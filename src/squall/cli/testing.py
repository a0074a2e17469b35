"""`squall testing`: what shows that Squall does on a machine what its tests say."""

from pathlib import Path
from typing import Any

import click

from squall.cli.screen import say, say_json
from squall.model.errors import UsageError
from squall.sdk.local_server import require_linux


@click.group()
def testing() -> None:
    """Show what Squall does on this machine."""


@testing.command("gpu")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--record", metavar="DIR", default="", help="Write the evidence and a recording for tests there."
)
@click.option(
    "--fake", metavar="RECORDING", default="", help="Replay a recording, and run what needs no device."
)
@click.option("--commit", default="", help="The commit of these sources, where git cannot tell.")
def gpu(*, as_json: bool, record: str, fake: str, commit: str) -> int:
    """Run functions on this machine's GPUs and measure them: offline, in less than eight minutes.

    Needs a Python with torch. In a clone nothing else has to be installed. Exit status 1 where a check does not hold.
    """
    from squall.testing.gpu.run import gather, show

    found = gather(fake=fake, record=record, commit=commit)
    if as_json:
        say_json(found)
    else:
        show(found)
    return 1 if found["failed"] or not found["passed"] else 0


@testing.command("chaos")
@click.option("--minutes", type=click.FloatRange(0.1, 24 * 60), default=2.0, show_default=True,
              help="How long the storm of faults lasts.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Equal seeds draw equal faults.")
@click.option("--parts", default="", metavar="PART,...",
              help="Of storm, town, points, adoption, stale, order, seeds and planted; else storm, adoption and order. town: a storm over three machines, which needs root. seeds: of the simulation.")  # fmt: skip
@click.option(
    "--crash-points",
    is_flag=True,
    help="Also one run for each crash point, and for each pair of the hottest.",
)
@click.option(
    "--runs", type=click.IntRange(1), help="Of crash points at most so many runs, drawn by the seed."
)
@click.option(
    "--seeds", type=click.IntRange(1), default=1000, show_default=True, help="How many of the simulation."
)
@click.option("--least-killed", default=0, help="Fail below so many processes killed.")
@click.option("--least-kinds", default=0, help="Fail below so many kinds of fault.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--report", type=click.Path(dir_okay=False, writable=True, path_type=Path), metavar="FILE",
              help="Write the report there too, as JSON.")  # fmt: skip
def chaos(*, parts: str, crash_points: bool, as_json: bool, report: Path | None, **wish: Any) -> int:
    """Kill and hinder a server's processes under load on this machine, and count what became of the work.

    It uses servers and state directories of its own; what runs here otherwise is left alone. Exit status 1 where anything
    was lost, doubled, stuck or left behind.
    """
    from squall.testing.chaos.run import PARTS, USUAL, Wish, suite
    from squall.testing.chaos.write import write

    require_linux()
    asked = tuple(filter(None, parts.split(","))) or USUAL
    if unknown := sorted(set(asked) - set(PARTS)):
        raise UsageError(
            f"there is no part {', '.join(unknown)}", remedy=f"name some of {', '.join(PARTS)} with --parts"
        )
    chosen = (*asked, "points") if crash_points else asked
    whole = suite(Wish(parts=chosen, **wish), lambda line: say(line, err=True))
    if report is not None:
        write(report, whole)
    if as_json:
        say_json(whole.as_json())
    else:
        for line in whole.lines():
            say(line)
    return 0 if whole.holds else 1
