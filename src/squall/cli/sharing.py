"""Sharing: what the commands for Dicts and for Queues have in common."""

import json
import reprlib
import time
from collections.abc import Sequence
from typing import Any, Final

import click

from squall.cli.amounts import size_text
from squall.cli.asking import any_client
from squall.cli.screen import age, plain, say, say_json, say_table
from squall.model.shared import SharedKind
from squall.sdk.blocking import run_blocking
from squall.sdk.environments import environment_of
from squall.sdk.lanes import ask
from squall.sdk.shared_object import Objects

IN_ENVIRONMENT: Final = click.option(
    "--env", "environment", metavar="ENVIRONMENT", help="Where it is, if not in the one that is meant."
)
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = 60
_SHORT.maxother = 120
_SHORT.maxtuple = _SHORT.maxlist = _SHORT.maxdict = _SHORT.maxset = 8


def show_objects(kind: SharedKind, columns: Sequence[str], environment: str | None, *, as_json: bool) -> None:
    """List the objects of a kind that have a name."""
    any_client()
    head = {"kind": str(kind), "environment": environment_of(environment)}
    rows = json.loads(bytes(run_blocking(ask("shared.list", head)).payload))
    if as_json:
        say_json(rows)
        return
    now_s = time.time()
    shown = [
        row | {"size": size_text(row["bytes"]), "age": age(now_s - row["created_s"]), "waits": _waits(row)}
        for row in rows
    ]
    say_table(shown, columns, empty=f"no {kind.word}s: `squall {kind} create NAME` makes one")


def make_object(objects: Objects[Any], name: str, environment: str | None, *, as_json: bool) -> None:
    """Make an object where there is none of this name."""
    any_client()
    objects.create(name, environment_name=environment)
    _say_done("created", name, as_json=as_json)


def delete_objects(
    objects: Objects[Any], names: Sequence[str], environment: str | None, *, as_json: bool
) -> None:
    """Remove objects with all that they hold."""
    any_client()
    for name in names:
        objects.delete(name, environment_name=environment)
        if not as_json:
            _say_done("deleted", name, as_json=False)
    if as_json:
        say_json({"deleted": list(names)})


def short(value: Any) -> str:
    """A value as Python writes it, cut where it is long."""
    return plain(_SHORT.repr(value))


def jsonable(value: Any) -> Any:
    """A value for JSON: itself, where JSON can say it, and else as Python writes it."""
    try:
        return value if json.loads(json.dumps(value, allow_nan=False)) == value else repr(value)
    except (TypeError, ValueError, RecursionError):
        return repr(value)


def _say_done(what: str, name: str, *, as_json: bool) -> None:
    if as_json:
        say_json({what: name})
    else:
        say(f"{what} {plain(name)}")


def _waits(row: dict[str, Any]) -> str:
    """Who waits there, and for what."""
    told = []
    if row["waiting"]["room"]:
        told.append(f"{row['waiting']['room']} for room")
    if row["waiting"]["items"]:
        told.append(f"{row['waiting']['items']} for items")
    return ", ".join(told)
