"""`squall call`: list inputs of spawned calls that failed, and have them run again."""

import json
import time

import click

from squall.cli.asking import any_client, running_client
from squall.cli.screen import age, plain, say, say_json, say_table
from squall.sdk.blocking import run_blocking
from squall.sdk.function_call import FunctionCall


@click.group()
def call() -> None:
    """List inputs of spawned calls that failed, and have them run again."""


@call.command("dead")
@click.argument("name", metavar="CALL", required=False)
@click.option("--function", default="", metavar="NAME", help="Only of functions of this name.")
@click.option(
    "-n", "--lines", default=100, show_default=True, type=click.IntRange(1, 10_000), help="At most so many."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_dead(*, name: str | None, function: str, lines: int, as_json: bool) -> None:
    """List dead letters: inputs of spawned calls, or of one CALL, that ended without a value and were not cancelled."""
    head = {"call": name, "name": function or None, "limit": lines}
    answer = run_blocking(any_client().ask_surely("call.dead", head))
    rows = json.loads(bytes(answer.payload))
    if as_json:
        say_json(rows)
        return
    now_s = time.time()
    for row in rows:
        row["function"] = row["function"].partition("/")[2]
        row["error"] = row["code"] or "raised"
        row["ago"] = age(now_s - row["ended_s"])
    say_table(rows, ("call", "index", "function", "error", "attempt", "ago"), empty="no dead letters")


@call.command("replay")
@click.argument("name", metavar="CALL")
@click.argument("indexes", metavar="[INDEX]...", nargs=-1, type=click.IntRange(min=0))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay(*, name: str, indexes: tuple[int, ...], as_json: bool) -> None:
    """Have the dead letters of a CALL run again, all of them or those of an INDEX; its app must run."""
    running_client()
    count = FunctionCall.from_id(name).replay(indexes or None)
    if as_json:
        say_json({"call": name, "inputs": count})
    else:
        say(
            f"{count} inputs of {plain(name)} run again"
            if count
            else f"{plain(name)} has no such dead letters"
        )
