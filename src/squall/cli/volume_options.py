"""Volume options: what several commands of `squall volume` take."""

from typing import Final

import click

AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
ENVIRONMENT: Final = click.option(
    "--env", "environment", metavar="ENVIRONMENT", help="Where it is, if not in the one that is meant."
)
VERSION: Final = click.option(
    "--version", "version", metavar="VERSION", help="Of an earlier version, by its number or its name."
)


def which(text: str | None) -> int | str | None:
    """The version that is meant: a number is that of one, anything else a name."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() else text
