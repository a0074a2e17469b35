"""`squall image names` and `squall image publish`: what people call images."""

import os
import re
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from squall.cli.asking import any_client, client_if_any
from squall.cli.image_build import check_functions, load_apps
from squall.cli.progress import RunWatcher
from squall.cli.screen import age, plain, say_json, say_table, say_wrapped
from squall.model.errors import InvalidError, UsageError
from squall.model.image_name import parse_image_name, unknown_name
from squall.sdk.app import App
from squall.sdk.blocking import run_blocking
from squall.sdk.image import Image
from squall.settings.options import read_options
from squall.settings.paths import find_state

_SHORT: Final = 12
_KEY: Final = re.compile(r"[0-9a-f]{6,64}")


@click.group("names")
def names() -> None:
    """Look at the names of images, and delete them.

    `squall image publish` and `image.publish(NAME)` give them.
    """


@names.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_names(*, as_json: bool) -> None:
    """List the names, and the image that each means."""
    rows = named()
    if as_json:
        say_json(rows)
        return
    _say_rows(
        rows,
        ("name", "key", "since", "by", "what"),
        empty="no image has a name: `squall image publish` gives it one",
    )


@names.command("history")
@click.argument("name", metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def show_history(*, name: str, as_json: bool) -> None:
    """Show which images a NAME has meant, the newest first.

    The last 100 are kept, and those of a deleted name for 7 days.
    """
    asked = _checked(name)
    client = _server()
    if client is not None:
        rows = client.request("image.names.history", {"name": asked})["history"]
    else:
        rows = _at_rest(asked)
        if not rows:
            raise unknown_name(asked, [row["name"] for row in named()])
    if as_json:
        say_json(rows)
        return
    _say_rows(rows, ("key", "since", "by", "what"), empty="")


@names.command("delete")
@click.argument("wanted", metavar="NAME...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def delete_names(*, wanted: Sequence[str], as_json: bool) -> None:
    """Delete names; the images stay until they are pruned."""
    asked = [_checked(name) for name in wanted]
    client = any_client()
    who = import_module("squall.sdk.who").who_asks()
    gone = []
    for name in asked:
        gone.append(client.request("image.names.delete", {"name": name, "who": who}))
        if not as_json:
            say_wrapped(f"deleted {gone[-1]['name']}, which meant {gone[-1]['key'][:_SHORT]}")
    if as_json:
        say_json(gone)


@click.command("publish")
@click.argument("image", metavar="KEY|FILE[::FUNCTION]")
@click.argument("name", metavar="NAME")
@click.option("-m", "is_module", is_flag=True, help="FILE is a module, not a file.")
@click.option("-q", "--quiet", is_flag=True, help="Show only what the name means.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def publish_image(*, image: str, name: str, is_module: bool, quiet: bool, as_json: bool) -> int:
    """Give an image a NAME, by which `Image.from_name(NAME)` finds it.

    It is the image of a KEY, or that of a file's function, which is built. NAME is such as base:1; base alone is base:latest. A
    name that means another image moves.
    """
    asked = _checked(name)
    if _KEY.fullmatch(image) and not is_module and not os.path.exists(image):
        now = import_module("squall.sdk.image_now")
        head = {**now.naming(asked), "key": image}
        told = any_client().request("image.names.publish", head)
    else:
        apps = load_apps(image, is_module=is_module)
        if apps is None:
            return 1
        told = _publish_built(_one_image(apps, image), asked, quiet=quiet)
    if as_json:
        say_json(told)
    else:
        how = "means" if told["new"] else "means already"
        say_wrapped(f"{asked} {how} {told['key'][:_SHORT]}: {plain(told['what'])}")
    return 0


def _one_image(apps: list[App], target: str) -> Image:
    """The image of the function that is named, or of all. Raises FunctionNotFound, UsageError where they have several."""
    check_functions(apps, target, "squall image publish")
    file, _, chosen = target.partition("::")
    found: dict[Image, list[str]] = {}
    for name, function in ((name, function) for app in apps for name, function in app.functions.items()):
        if chosen in {"", name}:
            found.setdefault(function.declared.image or Image.host(), []).append(name)
    if len(found) > 1:
        told = "; ".join(", ".join(names) for names in found.values())
        raise UsageError(
            f"the functions of {file} have {len(found)} images: {told}",
            remedy=f"name one of them: `squall image publish {file}::FUNCTION NAME`",
        )
    return next(iter(found))


def _publish_built(image: Image, name: str, *, quiet: bool) -> dict[str, Any]:
    watcher = RunWatcher(quiet=quiet)
    now = import_module("squall.sdk.image_now").ImageNow(image, watcher)
    now.check_fit_for_a_name()
    try:
        now.prepare()
        told: dict[str, Any] = run_blocking(now.publish(parse_image_name(name)))
    finally:
        watcher.put_away()
    return told


def named() -> list[dict[str, Any]]:
    """Every name that means an image, from the server or, where none runs, from the record on this machine's disk."""
    client = _server()
    if client is None:
        return _at_rest()
    found: list[dict[str, Any]] = client.request("image.names.list")["names"]
    return found


def _server() -> Any:
    """The server, where one runs, or where only one can look: a record in a database is no file of this machine."""
    if read_options(find_state().config).database:
        return any_client()
    return client_if_any()


def _at_rest(name: str | None = None) -> list[dict[str, Any]]:
    rows = import_module("squall.state.naming_rows").namings_at_rest(find_state().database, name)
    return [row.to_json() for row in rows]


def _checked(name: str) -> str:
    try:
        return str(parse_image_name(name))
    except InvalidError as wrong:
        raise UsageError(wrong.message, remedy=wrong.remedy) from None


def _say_rows(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    now_s = time.time()
    shown = [
        {
            "name": row["name"],
            "key": row["key"][:_SHORT] or "deleted",
            "since": age(now_s - row["at_s"]),
            "by": row["who"],
            "what": row["what"],
        }
        for row in rows
    ]
    say_table(shown, columns, empty=empty)
