"""`squall dict`: make Dicts, look into them, clear and delete them."""

import ast
from itertools import islice
from typing import Any

import click

from squall.cli.asking import any_client
from squall.cli.screen import plain, say, say_json, say_table
from squall.cli.sharing import IN_ENVIRONMENT, delete_objects, jsonable, make_object, short, show_objects
from squall.model.errors import NotFoundError, UsageError
from squall.model.shared import SharedKind
from squall.sdk.blocking import run_blocking
from squall.sdk.face import PagesFace
from squall.sdk.shared_dict import Dict
from squall.wire.plain_value import plain_value


@click.group("dict")
def dict_() -> None:
    """Make Dicts, look into them, clear and delete them.

    Values are shown as far as they are Python's own data; no code that travels in them is run.
    """


@dict_.command("create")
@click.argument("name", metavar="NAME")
@IN_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def create(*, name: str, environment: str | None, as_json: bool) -> None:
    """Make the Dict NAME, where there is none."""
    make_object(Dict.objects, name, environment, as_json=as_json)


@dict_.command("list")
@IN_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_(*, environment: str | None, as_json: bool) -> None:
    """List the Dicts, and how much each holds."""
    show_objects(SharedKind.DICT, ("name", "len", "size", "age"), environment, as_json=as_json)


@dict_.command("get")
@click.argument("name", metavar="NAME")
@click.argument("key", metavar="KEY")
@click.option("--literal", is_flag=True, help="KEY is written as in Python: 17, ('user', 17).")
@IN_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def get(*, name: str, key: str, literal: bool, environment: str | None, as_json: bool) -> None:
    """Show the value of a KEY, which is a string unless --literal says otherwise."""
    asked = _literal(key) if literal else key
    any_client()
    found = run_blocking(Dict.from_name(name, environment_name=environment).packed_value(asked))
    if found is None:
        raise NotFoundError(
            f"the Dict {name!r} has no key {asked!r}", remedy=f"look at `squall dict items {name} --keys`"
        )
    value = plain_value(found)
    if as_json:
        say_json({"key": jsonable(asked), "value": jsonable(value)})
    else:
        say(plain(repr(value)))


@dict_.command("items")
@click.argument("name", metavar="NAME")
@click.option(
    "-n", "--lines", default=100, show_default=True, type=click.IntRange(1), help="At most so many."
)
@click.option("--keys", "only_keys", is_flag=True, help="Only the keys.")
@IN_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def items(*, name: str, lines: int, only_keys: bool, environment: str | None, as_json: bool) -> None:
    """Show keys and their values."""
    any_client()
    found = Dict.from_name(name, environment_name=environment)
    entries = list(islice(PagesFace(found.packed_entries)(look=only_keys), lines))
    if as_json:
        say_json([_entry(key, value, only_keys=only_keys) for key, value in entries])
        return
    rows = [
        {"key": short(key), "value": "" if only_keys else short(plain_value(value))} for key, value in entries
    ]
    say_table(rows, ("key",) if only_keys else ("key", "value"), empty=f"the Dict {name} is empty")
    more = found.len() - len(entries) if len(entries) == lines else 0
    if more > 0:
        say(f"... and {more:,} more", style="bright_black")


@dict_.command("clear")
@click.argument("name", metavar="NAME")
@IN_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def clear(*, name: str, environment: str | None, as_json: bool) -> None:
    """Remove all keys of a Dict."""
    any_client()
    Dict.from_name(name, environment_name=environment).clear()
    if as_json:
        say_json({"cleared": name})
    else:
        say(f"cleared {plain(name)}")


@dict_.command("delete")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@IN_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def delete(*, names: tuple[str, ...], environment: str | None, as_json: bool) -> None:
    """Delete Dicts with all that they hold."""
    delete_objects(Dict.objects, names, environment, as_json=as_json)


def _entry(key: Any, value: bytes, *, only_keys: bool) -> dict[str, Any]:
    told = {"key": jsonable(key)}
    return told if only_keys else {**told, "value": jsonable(plain_value(value))}


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise UsageError(
            f"{text!r:.90} is no key as Python writes it", remedy="write 17, 'text' or ('user', 17)"
        ) from None
