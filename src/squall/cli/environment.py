"""`squall environment`: make, list, rename and delete environments."""

import sys

import click

from squall.cli.asking import any_client, running_client
from squall.cli.screen import plain, say, say_json, say_table
from squall.model.errors import EnvironmentNotEmpty


@click.group()
def environment() -> None:
    """Make, list, rename and delete environments: apps, Dicts and Queues of one name are told apart by them."""


@environment.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_environments(*, as_json: bool) -> None:
    """List the environments, what is deployed there, and how much is kept in them."""
    rows = any_client().request("environment.list")["environments"]
    if as_json:
        say_json(rows)
        return
    kinds = ("dict", "queue", "secret", "volume")
    shown = [
        {"name": row["name"], "apps": ", ".join(row["apps"])} | {f"{kind}s": row[kind] for kind in kinds}
        for row in rows
    ]
    say_table(shown, ("name", *(f"{kind}s" for kind in kinds), "apps"), empty="")


@environment.command("create")
@click.argument("name", metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def create(*, name: str, as_json: bool) -> None:
    """Make an environment NAME."""
    made = any_client().request("environment.create", {"name": name})
    say_json(made) if as_json else say(f"made the environment {plain(made['name'])}")


@environment.command("update")
@click.argument("name", metavar="NAME")
@click.option("--set-name", "new", metavar="NEW", required=True, help="Its new name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def update(*, name: str, new: str, as_json: bool) -> None:
    """Give the environment NAME another name; what is in it stays there, and is found under the new one alone."""
    told = any_client().request("environment.update", {"name": name, "new": new})
    say_json(told) if as_json else say(f"the environment {plain(name)} is {plain(told['name'])} now")


@environment.command("delete")
@click.argument("name", metavar="NAME")
@click.option("--with-contents", is_flag=True, help="And all that is kept in it, without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def delete(*, name: str, with_contents: bool, as_json: bool) -> None:
    """Delete the environment NAME and the history of its apps, which are stopped before.

    If Dicts, Queues, secrets or volumes are in it, it is deleted with them where that is asked for; on a terminal it is asked about.
    """
    client = running_client()
    try:
        gone = client.request("environment.delete", {"name": name, "contents": with_contents})
    except EnvironmentNotEmpty as full:
        if not sys.stdin.isatty():
            raise
        say(plain(full.message), err=True)
        click.confirm("delete it with them?", abort=True, err=True)
        gone = client.request("environment.delete", {"name": name, "contents": True})
    say_json(gone) if as_json else say(f"deleted the environment {plain(gone['name'])}")
