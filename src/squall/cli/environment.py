"""`squall environment`: make, list and delete environments."""

import click

from squall.cli.asking import any_client, running_client
from squall.cli.screen import plain, say, say_json, say_table


@click.group()
def environment() -> None:
    """Make, list and delete environments: apps of one name are told apart by them."""


@environment.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_environments(*, as_json: bool) -> None:
    """List the environments, and what is deployed there."""
    rows = any_client().request("environment.list")["environments"]
    if as_json:
        say_json(rows)
        return
    say_table([{**row, "apps": ", ".join(row["apps"])} for row in rows], ("name", "apps"), empty="")


@environment.command("create")
@click.argument("name", metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def create(*, name: str, as_json: bool) -> None:
    """Make an environment NAME."""
    made = any_client().request("environment.create", {"name": name})
    say_json(made) if as_json else say(f"made the environment {plain(made['name'])}")


@environment.command("delete")
@click.argument("name", metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def delete(*, name: str, as_json: bool) -> None:
    """Delete the environment NAME and the history of its apps; they are stopped before."""
    gone = running_client().request("environment.delete", {"name": name})
    say_json(gone) if as_json else say(f"deleted the environment {plain(gone['name'])}")
