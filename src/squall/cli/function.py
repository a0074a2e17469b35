"""`squall function`: list the functions of apps."""

import click

from squall.cli.asking import any_client
from squall.cli.screen import say_json, say_table


@click.group()
def function() -> None:
    """List the functions of apps."""


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
