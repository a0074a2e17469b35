"""`squall testing`: what shows that Squall does on a machine what its tests say."""

import click

from squall.cli.screen import say_json


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
