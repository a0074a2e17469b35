"""`squall status`: what runs, with its processes."""

from typing import Any

import click

from squall.cli.asking import running_client
from squall.cli.census import census
from squall.cli.main import DONE, NOT_RUNNING
from squall.cli.screen import age, plain, say, say_json, say_table
from squall.settings.client import named_server
from squall.settings.paths import find_state


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(*, as_json: bool) -> int:
    """Show what runs, with its processes. Exit status 3 where no server runs."""
    if named_server() is not None:
        running_client()  # Raises where nobody listens there: our own server is not meant.
    found = census(find_state())
    if as_json:
        say_json(found)
    else:
        _show(found)
    return DONE if found["running"] else NOT_RUNNING


def _show(found: dict[str, Any]) -> None:
    if not found["running"] and "unanswered" not in found:
        say("no server runs", style="yellow")
    elif not found["running"]:
        say("the server does not answer", style="yellow")
    else:
        doing = f"busy: {plain(found['why_busy'])}" if found["busy"] else "idle"
        say(f"squall {plain(found['version'])} is up, {doing}", style="green")
    if "unanswered" in found:
        say(f"the server did not tell more: {plain(found['unanswered'])}", style="yellow")
    if found["named"]:
        say(f"server: {plain(found['named'])}")
    else:
        say(f"state: {found['state']}")
    if "record" in found:
        say(f"record: {plain(found['record']['where'])}")
        if found["record"]["trouble"]:
            say(f"calls are not recorded just now: {plain(found['record']['trouble'])}", style="yellow")
        if found["record"]["backup_trouble"]:
            say(f"there is no new backup: {plain(found['record']['backup_trouble'])}", style="yellow")
    for name in ("supervisor", "server", "agent"):
        if found[name]:
            say(f"{name}: process {found[name]['pid']}")
    for launcher in found["launchers"]:
        rests = launcher.get("template") == "resting"
        keeps = ", which keeps packages for the next version of a function" if rests else ""
        say(f"launcher: process {launcher.get('pid')}{keeps}")
    if found["running"]:
        show_containers(found["containers"])
    for line in found.get("waiting", []):
        waited = f"the oldest for {age(float(line.get('oldest_s') or 0))}"
        why = plain(line.get("words") or line.get("reason"))
        say(f"{plain(line.get('function'))}: {line.get('inputs')} waiting ({why}), {waited}")
    for node in found.get("nodes", []):
        show_gpus(node)


def show_gpus(node: dict[str, Any]) -> None:
    """The GPUs of one machine, and those that are held back."""
    if node.get("gpus"):
        say("GPUs: " + ", ".join(f"{count} {plain(kind)}" for kind, count in node["gpus"].items()))
    for out in node.get("gpus_out", []):
        say(f"{plain(out['type'])} {plain(out['id'])} is held back: {plain(out['why'])}", style="yellow")


def show_containers(containers: list[dict[str, Any]]) -> None:
    """The table of containers."""
    rows = [{**row, "age": age(float(row.get("age_s") or 0))} for row in containers]
    say_table(
        rows, ("id", "function", "state", "inputs", "pid", "age", "level", "rung"), empty="no containers"
    )
    for rung, why in sorted({(str(row.get("rung")), str(row.get("why"))) for row in rows if row.get("why")}):
        say(f"{plain(rung)}: {plain(why)}")
