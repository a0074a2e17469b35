"""`squall testing`: what shows that Squall does on a machine what its tests say."""

import os
from pathlib import Path

import click

from squall.cli.screen import say, say_json


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
@click.option(
    "--crash-points",
    is_flag=True,
    help="Also one run for each crash point, and for each pair of the hottest.",
)
@click.option(
    "--runs", type=click.IntRange(1), help="With --crash-points: at most so many runs, drawn by the seed."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--report", type=click.Path(dir_okay=False, writable=True, path_type=Path), metavar="FILE",
              help="Write the report there too, as JSON.")  # fmt: skip
def chaos(
    *, minutes: float, seed: int, crash_points: bool, runs: int | None, as_json: bool, report: Path | None
) -> int:
    """Kill and hinder a server's processes under load on this machine, and count what became of the work.

    It uses a server and a state directory of its own; what runs here otherwise is left alone. Exit status 1 where anything
    was lost, doubled, stuck or left behind.
    """
    from squall.testing.chaos.points import sweep_points
    from squall.testing.chaos.report import together
    from squall.testing.chaos.storm import Weather, storm
    from squall.testing.chaos.write import write

    def tell(line: str) -> None:
        say(line, err=True)

    found = [storm(Weather(minutes=minutes, seed=seed), tell)]
    if crash_points:
        beside = max(1, min(8, len(os.sched_getaffinity(0))))
        found.append(sweep_points(seed=seed, most=runs, beside=beside, say=tell))
    whole = together(found)
    if report is not None:
        write(report, whole)
    if as_json:
        say_json(whole.as_json())
    else:
        for line in whole.lines():
            say(line)
    return 0 if whole.holds else 1
