"""`squall app`: list apps, look at them and their versions, go back to one, stop them."""

import re
import time
from importlib import import_module
from typing import Any

import click

from squall.cli.amounts import seconds_in
from squall.cli.asking import any_client, follow, running_client
from squall.cli.functions import ENVIRONMENT, place_of, show_stats, text_of
from squall.cli.logs import LogPrinter
from squall.cli.progress import RunWatcher
from squall.cli.screen import age, plain, say, say_json, say_table
from squall.cli.traces import say_traceback
from squall.model.deploy import STRATEGIES
from squall.sdk.environments import environment_of


@click.group()
def app() -> None:
    """List apps, look at them and their versions, go back to one, stop them."""


@app.command("list")
@click.option("--env", "environment", metavar="ENVIRONMENT", help="Only what is deployed there.")
@click.option(
    "--tag",
    "tags",
    metavar="KEY[=VALUE]",
    multiple=True,
    help="Only those with this tag, and this value of it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_apps(*, environment: str | None, tags: tuple[str, ...], as_json: bool) -> None:
    """List the apps that run, and each version of deployed ones that has something to do."""
    apps = any_client().request("app.list")["apps"]
    apps = [row for row in apps if environment in {None, row["environment"]} and _has(row["tags"], tags)]
    if as_json:
        say_json(apps)
        return
    now_s = time.time()
    rows = [
        {
            **row,
            "age": age(now_s - row["created"]) if row.get("created") else "",
            "functions": len(row.get("functions", [])),
        }
        for row in apps
    ]
    own = ("id", "name", "state", "functions", "containers", "calls", "age")
    deployed = ("id", "name", "environment", "version", *own[2:])
    say_table(rows, deployed if any(row["version"] for row in rows) else own, empty="no apps")


def _has(tags: dict[str, str], wanted: tuple[str, ...]) -> bool:
    """Whether an app has these tags."""
    pairs = [one.partition("=") for one in wanted]
    return all(key in tags and (not equals or tags[key] == value) for key, equals, value in pairs)


@app.command("info")
@click.argument("name", metavar="APP")
@ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(*, name: str, environment: str | None, as_json: bool) -> None:
    """Show what an APP (its name or id) is, and its functions."""
    told = any_client().request("app.info", place_of(name, environment))
    if as_json:
        say_json(told)
        return
    row = told["app"]
    about = {
        "id": row["id"],
        "state": row["state"],
        "environment": row["environment"],
        "version": row["version"],
        "tag": row["tag"],
        "tags": row["tags"],
        "strategy": told["version"].get("strategy"),
        "by": told["version"].get("who"),
        "age": age(time.time() - row["created"]),
        "containers": row["containers"],
        "calls": row["calls"],
    }
    say(f"{plain(row['name'])}: {'deployed' if row['version'] else 'runs as long as its program'}")
    shown = [
        {"name": key, "value": text_of(value)} for key, value in about.items() if value not in (None, "", {})
    ]
    say_table(shown, ("name", "value"), empty="")
    columns = ("function", "kind", "containers", "calls", "waiting")
    say_table(told["functions"], columns, empty="no functions")


@app.command("stats")
@click.argument("name", metavar="APP")
@ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def stats(*, name: str, environment: str | None, as_json: bool) -> None:
    """Show how much each function of an APP (its name or id) has to do.

    recent, failed: inputs of its last 1,000 calls, and those of them that returned nothing.
    """
    head = {**place_of(name, environment), "recent": True}
    rows = any_client().request("function.stats", head)["functions"]
    say_json(rows) if as_json else show_stats(rows)


@app.command("logs")
@click.argument("name", metavar="APP")
@ENVIRONMENT
@click.option("--version", type=click.IntRange(min=1), help="Only of this version.")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on as more is printed.")
@click.option("--since", default="", metavar="AGE", help="Only what is not older: 30s, 10m, 2h, 1d.")
@click.option("-n", "--lines", default=1000, show_default=True, help="At most so many lines of the past.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def logs(*, name: str, environment: str | None, as_json: bool, **wish: Any) -> None:
    """Show what the containers of an APP (its name or id) have printed; of a deployed one, of its last versions."""
    head = {**place_of(name, environment), "follow": wish["following"], "lines": wish["lines"]}
    head["since"] = time.time() - seconds_in("--since", wish["since"]) if wish["since"] else None
    if wish["version"] is not None:
        head["version"] = wish["version"]
    follow(any_client(), "logs", head, LogPrinter(as_json=as_json, wanted=re.compile("")).take)


@app.command("history")
@click.argument("name", metavar="APP")
@ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def show_history(*, name: str, environment: str | None, as_json: bool) -> None:
    """List the versions of a deployed APP, the newest first. The last 100 are kept."""
    head = {"app": name, "environment": environment_of(environment)}
    rows = any_client().request("app.history", head)["versions"]
    if as_json:
        say_json(rows)
        return
    now_s = time.time()
    shown = [
        {
            **row,
            "deployed": age(now_s - row["created_s"]),
            "by": row["who"],
            "note": row["why"].partition("\n")[0] or _copied(row),
        }
        for row in rows
    ]
    say_table(shown, ("version", "state", "deployed", "by", "tag", "note"), empty="")


def _copied(row: dict[str, Any]) -> str:
    return f"back to version {row['rolled_back_to']}" if row["rolled_back_to"] else ""


_STRATEGY = click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    default=STRATEGIES[0],
    show_default=True,
    help="Start it beside what serves, or once that has ended.",
)
_QUIET = click.option("-q", "--quiet", is_flag=True, help="Show only the version.")


@app.command("rollback")
@click.argument("name", metavar="APP")
@click.argument("version", metavar="[VERSION]", required=False, type=click.IntRange(min=1))
@ENVIRONMENT
@_STRATEGY
@_QUIET
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def rollback(*, name: str, version: int | None, as_json: bool, **wish: Any) -> int:
    """Deploy again what an APP was at a VERSION, or else before the one that serves.

    It gets a number of its own, is made ready and tried as any version is, and takes new calls then.
    """
    any_client()
    told = _deployed_again(name, version, wish)
    if told is None:
        return 1
    if as_json:
        say_json(told)
    else:
        say(
            f"{plain(name)}: version {told['version']} serves, which is version {told['rolled_back_to']} again"
        )
    return 0


@app.command("rollover")
@click.argument("name", metavar="APP")
@ENVIRONMENT
@_STRATEGY
@_QUIET
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def rollover(*, name: str, as_json: bool, **wish: Any) -> int:
    """Give an APP new containers: what serves is deployed again, as a version of its own.

    It is tried first, and the containers before end the calls that they have.
    """
    head = {"app": name, "environment": environment_of(wish["environment"])}
    serving = any_client().request("app.find", head)["version"]
    told = _deployed_again(name, serving, wish)
    if told is None:
        return 1
    if as_json:
        say_json(told)
    else:
        say(f"{plain(name)}: version {told['version']} serves, which is version {serving} in new containers")
    return 0


def _deployed_again(name: str, version: int | None, wish: dict[str, Any]) -> dict[str, Any] | None:
    """What the server says of the version that serves now; None where the code raised, which is shown."""
    watcher = RunWatcher(quiet=wish["quiet"])
    deploying = import_module("squall.sdk.deploying")
    wanted = deploying.DeployWish(
        name=name,
        environment=environment_of(wish["environment"]),
        strategy=wish["strategy"],
        who=import_module("squall.sdk.who").who_asks(),
    )
    try:
        told: dict[str, Any] = deploying.roll_back(wanted, version, watcher.on_event)
    except Exception as error:
        watcher.put_away()
        if say_traceback(error):
            return None
        raise
    finally:
        watcher.put_away()
    return told


@app.command("stop")
@click.argument("name", metavar="APP")
@ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stop_app(*, name: str, environment: str | None, as_json: bool) -> None:
    """Stop an APP (its name or id): its calls are cancelled, its containers ended.

    A deployed one is stopped with all its versions, and called no more; its history stays, and it can be deployed again.
    """
    head = {"app": name, "environment": environment_of(environment), "only_deployed": environment is not None}
    stopped = running_client().request("app.stop", head)
    if as_json:
        say_json(stopped)
    else:
        say(f"stopped {plain(stopped.get('name', name))} ({plain(stopped.get('id', ''))})")
