"""Functions: how commands name one, and how they show what it is and has to do."""

from collections.abc import Callable
from typing import Any

import click

from squall.cli.screen import age, plain, say, say_table
from squall.sdk.environments import environment_of

ENVIRONMENT = click.option(
    "--env",
    "environment",
    metavar="ENVIRONMENT",
    help="Where it is deployed, if not in the one that is meant.",
)
_STATS = (
    "function",
    "version",
    "containers",
    "idle",
    "starting",
    "running",
    "backlog",
    "per_s",
    "recent",
    "failed",
)


def place_of(app: str, environment: str | None) -> dict[str, Any]:
    """What a question says of an app: its name or id, and the environment that is meant."""
    return {
        "app": app,
        "environment": environment_of(environment),
        "only_deployed": environment is not None,
    }


def on_function(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments and options with which a command names a function."""
    for decorate in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--version", type=click.IntRange(min=1), help="Of this version, while it takes calls."),
        ENVIRONMENT,
        click.argument("name", metavar="FUNCTION"),
        click.argument("app", metavar="APP"),
    ):
        command = decorate(command)
    return command


def asked(app: str, name: str, environment: str | None, version: int | None) -> dict[str, Any]:
    """What a question says of a function."""
    head = {**place_of(app, environment), "name": name}
    return head if version is None else {**head, "version": version}


def show_stats(rows: list[dict[str, Any]]) -> None:
    """A table of functions, and why the inputs of some wait."""
    shown = [
        {
            **row,
            "per_s": f"{row['arrivals_per_s']:.1f}",
            "recent": row["recent"]["inputs"],
            "failed": row["recent"]["failed"],
        }
        for row in rows
    ]
    columns = (
        _STATS if any(row["version"] for row in rows) else tuple(one for one in _STATS if one != "version")
    )
    say_table(shown, columns, empty="no functions")
    for row in rows:
        if row["waits_for"]:
            why = plain(row["words"] or row["waits_for"])
            say(
                f"{plain(row['function'])}: {row['backlog']} waiting ({why}), the oldest for {age(row['oldest_wait_s'])}"
            )


def text_of(value: Any) -> str:
    """A value of an option as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(text_of, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={text_of(one) or 'none'}" for key, one in value.items())
    return "" if value is None else str(value)
