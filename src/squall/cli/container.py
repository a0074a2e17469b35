"""`squall container`: list containers, look into them, stop them."""

import re

import click

from squall.cli.asking import any_client, follow, running_client
from squall.cli.logs import LogPrinter
from squall.cli.screen import plain, say, say_json
from squall.cli.status import show_containers


@click.group()
def container() -> None:
    """List containers, look into them, stop them."""


@container.command("list")
@click.argument("app", metavar="APP", required=False)
@click.option("--env", "environment", metavar="ENVIRONMENT", help="Only of apps that are deployed there.")
@click.option("--function", default="", help="Only of this function, its variants and other parameters.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_containers(*, app: str | None, environment: str | None, function: str, as_json: bool) -> None:
    """List the containers that run, of every app or of one APP (its name or id)."""
    containers = [
        row
        for row in running_client().request("container.list")["containers"]
        if app in {None, row["app"], row["app_name"]}
        and environment in {None, row["environment"]}
        and (not function or re.split("[~@]", row["function"])[0] == function)
    ]
    if as_json:
        say_json(containers)
    else:
        show_containers(containers)


@container.command("logs")
@click.argument("name", metavar="CONTAINER")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on as more is printed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def logs_of_container(*, name: str, following: bool, as_json: bool) -> None:
    """Show what a CONTAINER has printed."""
    printer = LogPrinter(as_json=as_json, wanted=re.compile(""))
    follow(any_client(), "logs", {"container": name, "follow": following}, printer.take)


@container.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("name", metavar="CONTAINER")
@click.argument("argv", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--tty/--no-tty", default=None, help="Give it a terminal; by default if this is one.")
def exec_in_container(*, name: str, argv: tuple[str, ...], tty: bool | None) -> int:
    """Run a COMMAND inside a running CONTAINER; its exit status becomes ours."""
    client = running_client()
    from squall.cli.attach import (
        run_in_container,
    )  # a terminal is handled in a way that Windows does not have

    return run_in_container(client, name, argv, tty=tty)


@container.command("stop")
@click.argument("name", metavar="CONTAINER")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stop_container(*, name: str, as_json: bool) -> None:
    """Stop a CONTAINER; what it was working on is run again elsewhere."""
    stopped = running_client().request("container.stop", {"container": name})
    if as_json:
        say_json(stopped)
    else:
        say(f"stopped {plain(stopped.get('id', name))}")
