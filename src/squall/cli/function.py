"""`squall function`: list the functions of apps, look at one, change the bounds of its containers."""

import re
import time
from typing import Any

import click

from squall.cli.amounts import seconds_in
from squall.cli.asking import any_client, follow, running_client
from squall.cli.functions import asked, on_function, show_stats, text_of
from squall.cli.logs import LogPrinter
from squall.cli.screen import age, plain, say, say_json, say_table
from squall.model.errors import UsageError
from squall.sdk.autoscaler import OPTIONS, changes

_BOUNDS = tuple(OPTIONS)


@click.group()
def function() -> None:
    """List the functions of apps, look at one, change the bounds of its containers."""


@function.command("list")
@click.argument("name", metavar="APP", required=False)
@click.option("--env", "environment", metavar="ENVIRONMENT", help="Only of apps that are deployed there.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_functions(*, name: str | None, environment: str | None, as_json: bool) -> None:
    """List the functions of every app that runs, or of one APP (its name or id)."""
    head = {"app": name, "environment": environment}
    rows = any_client().request("function.list", head)["functions"]
    if as_json:
        say_json(rows)
        return
    columns = ("function", "app", "environment", "version", "state", "containers", "calls", "waiting")
    say_table(rows, columns, empty="no functions")


@function.command("info")
@on_function
def info(*, as_json: bool, **where: Any) -> None:
    """Show what a FUNCTION or a class of an APP was declared as, and what holds now.

    Of its variables the names are shown, and no values.
    """
    told = any_client().request("function.info", asked(**where))
    if as_json:
        say_json(told)
        return
    place = (
        f"{told['app']} in {told['environment']}, version {told['version']}"
        if told["version"]
        else told["app"]
    )
    say(f"{plain(told['function'])}: a {told['kind']} of {plain(place)}")
    rows: list[tuple[str, Any]] = [
        ("state", told["state"]),
        ("containers", told["containers"]),
        ("module", told["module"]),
    ]
    methods = [one + (" (yields)" if yields else "") for one, yields in told["methods"].items()]
    rows += [("methods", methods), ("parameters", told["parameters"]), ("values", told["values"])]
    rows += [*told["options"].items(), ("variants", told["variants"])]
    shown = [
        {"name": key, "value": text_of(value)} for key, value in rows if value not in (None, [], {}, False)
    ]
    say_table(shown, ("name", "value"), empty="")


@function.command("stats")
@on_function
def stats(*, as_json: bool, **where: Any) -> None:
    """Show how much a FUNCTION of an APP has to do, with its variants and other parameters.

    recent, failed: inputs of its last 1,000 calls, and those of them that returned nothing.
    """
    head = {**asked(**where), "recent": True}
    rows = any_client().request("function.stats", head)["functions"]
    say_json(rows) if as_json else show_stats(rows)


@function.command("calls")
@on_function
@click.option(
    "-n", "--lines", default=100, show_default=True, type=click.IntRange(1, 1000), help="At most so many."
)
def list_calls(*, as_json: bool, lines: int, **where: Any) -> None:
    """List the calls of a FUNCTION of an APP, the newest first."""
    head = {**asked(**where), "limit": lines}
    rows = any_client().request("function.calls", head)["calls"]
    if as_json:
        say_json(rows)
        return
    now_s = time.time()
    shown = [
        {
            **row,
            "inputs": "?" if row["inputs"] is None else row["inputs"],
            "ago": age(now_s - row["created_s"]),
            "took": "" if row["ended_s"] is None else f"{row['ended_s'] - row['created_s']:.1f} s",
        }
        for row in rows
    ]
    columns = ("call", "function", "version", "verb", "state", "inputs", "done", "failed", "ago", "took")
    say_table(shown, columns, empty="no calls")


@function.command("logs")
@on_function
@click.option("-f", "--follow", "following", is_flag=True, help="Go on as more is printed.")
@click.option("--since", default="", metavar="AGE", help="Only what is not older: 30s, 10m, 2h, 1d.")
@click.option("-n", "--lines", default=1000, show_default=True, help="At most so many lines of the past.")
def logs(*, as_json: bool, following: bool, since: str, lines: int, **where: Any) -> None:
    """Show what the containers of a FUNCTION of an APP have printed, of its variants and other parameters too."""
    head = asked(**where)
    head["function"] = head.pop("name")
    head["since"] = time.time() - seconds_in("--since", since) if since else None
    head |= {"follow": following, "lines": lines}
    follow(any_client(), "logs", head, LogPrinter(as_json=as_json, wanted=re.compile("")).take)


@function.command("variants")
@on_function
def list_variants(*, as_json: bool, **where: Any) -> None:
    """List what a FUNCTION of an APP is called as: with other options, or of a class with other parameters."""
    rows = any_client().request("function.variants", asked(**where))["variants"]
    if as_json:
        say_json(rows)
        return
    shown = [{**row, "values": text_of(row["values"]), "changed": text_of(row["changed"])} for row in rows]
    say_table(shown, ("function", "values", "containers", "calls", "waiting", "changed"), empty="")


@function.group("autoscaler")
def autoscaler() -> None:
    """Look at the bounds of a function's containers, or change them."""


@autoscaler.command("settings")
@on_function
def settings(*, as_json: bool, **where: Any) -> None:
    """Show within which bounds the containers of a FUNCTION of an APP come and go."""
    _say_bounds(any_client().request("function.info", asked(**where)), as_json=as_json)


@autoscaler.command("update")
@on_function
@click.option("--min-containers", type=click.IntRange(min=0), help="So many are kept alive.")
@click.option("--max-containers", type=click.IntRange(min=1), help="Never more than so many.")
@click.option(
    "--buffer-containers", type=click.IntRange(min=0), help="So many idle ones on top, while there is load."
)
@click.option(
    "--scaledown-window", type=float, metavar="SECONDS", help="A container goes after so long without work."
)
def update(*, as_json: bool, **given: Any) -> None:
    """Change these bounds of a FUNCTION of an APP, until the app ends or is deployed again.

    Of a class they hold for all of its parameters; what is not named stays.
    """
    changed = changes({name: given.pop(name) for name in OPTIONS})
    if not changed:
        raise UsageError("nothing is to be changed", remedy="name a bound, such as `--min-containers 1`")
    client = running_client()
    head = asked(**given)
    told = client.request("function.info", head)
    client.request("function.scale", {"fn": told["id"], "scaling": changed, "sets": True})
    _say_bounds(client.request("function.info", head), as_json=as_json)


def _say_bounds(told: dict[str, Any], *, as_json: bool) -> None:
    bounds = {name: told["options"][name] for name in _BOUNDS}
    if as_json:
        say_json({"function": told["function"], **bounds})
    else:
        say_table([{"function": told["function"], **bounds}], ("function", *_BOUNDS), empty="")
