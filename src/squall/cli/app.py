"""`squall app`: list apps, look at versions of deployed ones, go back to one, stop them."""

import time
from importlib import import_module
from typing import Any

import click

from squall.cli.asking import any_client, running_client
from squall.cli.progress import RunWatcher
from squall.cli.screen import age, plain, say, say_json, say_table
from squall.cli.traces import say_traceback
from squall.model.deploy import STRATEGIES
from squall.sdk.environments import environment_of

_ENVIRONMENT = click.option(
    "--env",
    "environment",
    metavar="ENVIRONMENT",
    help="Where it is deployed, if not in the one that is meant.",
)


@click.group()
def app() -> None:
    """List apps, look at versions of deployed ones, go back to one, stop them."""


@app.command("list")
@click.option("--env", "environment", metavar="ENVIRONMENT", help="Only what is deployed there.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_apps(*, environment: str | None, as_json: bool) -> None:
    """List the apps that run, and each version of deployed ones that has something to do."""
    apps = any_client().request("app.list")["apps"]
    apps = [row for row in apps if environment in {None, row["environment"]}]
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


@app.command("history")
@click.argument("name", metavar="APP")
@_ENVIRONMENT
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


@app.command("rollback")
@click.argument("name", metavar="APP")
@click.argument("version", metavar="[VERSION]", required=False, type=click.IntRange(min=1))
@_ENVIRONMENT
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    default=STRATEGIES[0],
    show_default=True,
    help="Start it beside what serves, or once that has ended.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show only the version.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def rollback(*, name: str, version: int | None, quiet: bool, as_json: bool, **wish: str | None) -> int:
    """Deploy again what an APP was at a VERSION, or else before the one that serves.

    It gets a number of its own, is made ready and tried as any version is, and takes new calls then.
    """
    any_client()
    watcher = RunWatcher(quiet=quiet)
    deploying = import_module("squall.sdk.deploying")
    wanted = deploying.DeployWish(
        name=name,
        environment=environment_of(wish["environment"]),
        strategy=wish["strategy"],
        who=import_module("squall.sdk.who").who_asks(),
    )
    try:
        told = deploying.roll_back(wanted, version, watcher.on_event)
    except Exception as error:
        watcher.put_away()
        if say_traceback(error):
            return 1
        raise
    finally:
        watcher.put_away()
    if as_json:
        say_json(told)
    else:
        say(
            f"{plain(name)}: version {told['version']} serves, which is version {told['rolled_back_to']} again"
        )
    return 0


@app.command("stop")
@click.argument("name", metavar="APP")
@_ENVIRONMENT
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
