"""`squall version`: of this program and of the server."""

import platform
import sys

import click

from squall.cli.asking import greet_server
from squall.cli.screen import plain, say, say_json
from squall.model.errors import Error
from squall.sdk.greeting import Greeting
from squall.settings.version import PROTOCOL, VERSION


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def version(*, as_json: bool) -> None:
    """Show the version of this program, and of the server where one runs."""
    greeting = _greeting()
    if as_json:
        server = None if greeting is None else {"version": greeting.version, "protocol": greeting.protocol}
        say_json(
            {
                "version": VERSION,
                "protocol": PROTOCOL,
                "python": platform.python_version(),
                "platform": f"{sys.platform} {platform.machine()}",
                "server": server,
            }
        )
        return
    say(f"squall {VERSION}, protocol {PROTOCOL}")
    say(f"python {platform.python_version()}, {sys.platform} {platform.machine()}")
    if greeting is None:
        say("no server runs")
    else:
        say(f"server {plain(greeting.version)}, protocol {greeting.protocol}, process {greeting.pid}")


def _greeting() -> Greeting | None:
    """What the server says of itself; None where there is none, or none that can be asked from here."""
    if sys.platform == "win32":
        return None
    try:
        return greet_server(within_s=2.0)
    except Error:
        return None
