"""`squall schedule`: list what is called by itself, look at what became of it, call it now."""

import time
from datetime import UTC, datetime
from typing import Any

import click

from squall.cli.asking import any_client, running_client
from squall.cli.screen import age, plain, say, say_json, say_table
from squall.sdk.environments import environment_of

_ENVIRONMENT = click.option(
    "--env",
    "environment",
    metavar="ENVIRONMENT",
    help="Where it is deployed, if not in the one that is meant.",
)


@click.group()
def schedule() -> None:
    """List what is called by itself, look at what became of it, call it now."""


@schedule.command("list")
@click.argument("name", metavar="APP", required=False)
@click.option("--env", "environment", metavar="ENVIRONMENT", help="Only of apps that are deployed there.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, with the last ticks of each.")
def list_schedules(*, name: str | None, environment: str | None, as_json: bool) -> None:
    """List the schedules of every deployed app, or of one APP: when each is due, and what became of it last.

    missed: how many times nobody was there, and which were not made up for.
    """
    asked = environment_of(environment) if name is not None else environment
    rows = any_client().request("schedule.list", {"app": name, "environment": asked})["schedules"]
    if as_json:
        say_json(rows)
        return
    now_s = time.time()
    shown = [
        {
            **row,
            "next": f"in {age(row['next_s'] - now_s)}" if row["next_s"] is not None else "never",
            "last": _last(row["ticks"], now_s),
            "missed": row["missed"] or "",
        }
        for row in rows
    ]
    columns = ("function", "app", "environment", "schedule", "next", "last", "missed")
    say_table(shown, columns, empty="no schedules")


@schedule.command("ticks")
@click.argument("name", metavar="APP")
@click.argument("function", metavar="FUNCTION")
@_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def show_ticks(*, name: str, function: str, environment: str | None, as_json: bool) -> None:
    """List the last times at which a FUNCTION of an APP was due, the newest first: the call of each, or why there is none."""
    head = {"app": name, "environment": environment_of(environment)}
    rows = any_client().request("schedule.list", head)["schedules"]
    ticks = [tick for row in rows if row["function"] == function for tick in row["ticks"]]
    if as_json:
        say_json(ticks)
        return
    shown = [
        {
            **tick,
            "due": f"{datetime.fromtimestamp(tick['at_s'], UTC):%Y-%m-%d %H:%M:%S}Z",
            "late": age(max(0.0, tick["taken_s"] - tick["at_s"])),
            "call": tick["call"] if tick["state"] == "called" else "",
        }
        for tick in ticks
    ]
    say_table(shown, ("due", "state", "late", "call", "why"), empty="nothing was due yet")


@schedule.command("call")
@click.argument("name", metavar="APP")
@click.argument("function", metavar="FUNCTION")
@_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def call_now(*, name: str, function: str, environment: str | None, as_json: bool) -> None:
    """Call a scheduled FUNCTION of an APP now, as its schedule does; its next time stays what it is."""
    head = {"app": name, "function": function, "environment": environment_of(environment)}
    told = running_client().request("schedule.call", head)
    if as_json:
        say_json(told)
    else:
        say(f"{plain(function)} of {plain(name)} is called: {plain(told['call'])}")


def _last(ticks: list[dict[str, Any]], now_s: float) -> str:
    # What has just been taken is about to be called.
    for tick in (tick for tick in ticks if tick["state"] != "taken"):
        return f"{tick['state']} {age(max(0.0, now_s - tick['at_s']))} ago"
    return ""
