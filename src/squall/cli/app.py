"""`squall app`: list and stop apps."""

import time

import click

from squall.cli.asking import any_client, running_client
from squall.cli.screen import age, plain, say, say_json, say_table


@click.group()
def app() -> None:
    """List and stop apps."""


@app.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_apps(*, as_json: bool) -> None:
    """List the apps that run."""
    apps = any_client().request("app.list")["apps"]
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
    say_table(rows, ("id", "name", "state", "functions", "containers", "calls", "age"), empty="no apps")


@app.command("stop")
@click.argument("name", metavar="APP")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stop_app(*, name: str, as_json: bool) -> None:
    """Stop an APP (its name or id): its calls are cancelled, its containers ended."""
    stopped = running_client().request("app.stop", {"app": name})
    if as_json:
        say_json(stopped)
    else:
        say(f"stopped {plain(stopped.get('name', name))} ({plain(stopped.get('id', ''))})")
