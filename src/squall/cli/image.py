"""`squall image`: build images, look at them, fetch them, send them, remove them."""

import asyncio
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click

from squall.cli.amounts import bytes_in, seconds_in, size_text
from squall.cli.asking import any_client, client_if_any, follow
from squall.cli.image_build import what_of
from squall.cli.image_names import named
from squall.cli.screen import age, plain, say, say_json, say_table, say_wrapped
from squall.model.errors import ConflictError, UsageError
from squall.sdk.client import Client
from squall.settings.paths import find_state
from squall.wire.codec import Frame

SHORT: Final = 12
"""Digits of a key that are shown; any that no other key begins with will do."""

_JUST_SENT_S: Final = 600.0
_UNUSED: Final = "7d"


@click.group()
def image() -> None:
    """Build images, look at them, fetch them, send them, remove them.

    A KEY is what `squall image list` shows, or as much of its beginning as no other has.
    """


@image.command("list")
@click.option("-a", "--all", "every", is_flag=True, help="Also the layers that others stand on.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_images(*, every: bool, as_json: bool) -> None:
    """List the images here, the newest first.

    USED is when an image was used last: now, where containers use it. NAMES are those that `Image.from_name` knows it by.
    """
    client = client_if_any()
    if client is not None:
        rows = client.request("image.list", {"all": every})["images"]
    else:
        rows = import_module("squall.images.rooted.inventory").Inventory(find_state()).rows(every=every)
    names: dict[str, list[str]] = {}
    for one in named():
        names.setdefault(one["key"], []).append(one["name"])
    rows = [{**row, "names": names.get(row["key"], [])} for row in rows]
    if as_json:
        say_json(rows)
        return
    now_s = time.time()
    shown = [
        {
            "key": row["key"][:SHORT],
            "python": ".".join(str(row["python"] or "").split(".")[:2]),
            "layers": row["layers"],
            "size": size_text(row["size_bytes"]),
            "made": age(now_s - row["made_s"]),
            "used": "now" if row["containers"] else age(now_s - row["used_s"]),
            "names": " ".join(row["names"]),
            "what": what_of(row),
        }
        for row in rows
    ]
    columns = ("key", "python", "layers", "size", "made", "used", "names", "what")
    say_table(shown, columns, empty="no images: `squall run` builds what a program needs")


@image.command("inspect")
@click.argument("key", metavar="KEY")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def inspect_image(*, key: str, as_json: bool) -> None:
    """Show what is known of an image.

    That is how programs start in it, its Python, its layers, and the step that made each.
    """
    client = client_if_any()
    if client is not None:
        found = client.request("image.inspect", {"key": key})
    else:
        found = asyncio.run(_inspect_here(key))
    if as_json:
        say_json(found)
    else:
        _show(found)


@image.command("logs")
@click.argument("key", metavar="KEY")
@click.option(
    "-f", "--follow", "following", is_flag=True, help="Go on as more is said, until its build ends."
)
def logs_of_image(*, key: str, following: bool) -> None:
    """Show what was said while an image was built.

    KEY may be that of an image, of one layer, or of a step that failed.
    """
    client = client_if_any()
    printer = _LogPrinter()
    if client is not None:
        follow(client, "image.logs", {"key": key, "follow": following}, printer.take)
        return
    inventory = import_module("squall.images.rooted.inventory").Inventory(find_state())
    parts = inventory.log_parts(key)
    for part in parts:
        if len(parts) > 1:
            printer.begin(part.key, part.label)
        for line in inventory.logs.read(part.key):
            say(plain(line))


@image.command("prune")
@click.option("--older-than", default="", metavar="AGE", help=f"Only what was unused for so long: 12h, 7d.  [default: {_UNUSED}]")  # fmt: skip
@click.option("--keep", default="", metavar="SIZE", help="Only until the rest takes no more: 500MB, 20GB.")
@click.option("-a", "--all", "everything", is_flag=True, help="Everything that is not in use.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def prune_images(*, older_than: str, keep: str, everything: bool, dry_run: bool, as_json: bool) -> None:
    """Remove images and layers, the longest unused first.

    What containers or builds use stays, what a name means, and what these stand on.
    """
    if everything and (older_than or keep):
        raise UsageError(
            "--all removes all that is not in use, whatever its age and size",
            remedy="leave out --all, or --older-than and --keep",
        )
    unused = older_than or ("0s" if everything or keep else _UNUSED)
    head = {
        "older_than_s": seconds_in("--older-than", unused),
        "keep_bytes": bytes_in("--keep", keep) if keep else 0,
        "dry_run": dry_run,
    }
    client = any_client()
    answer = client.request("image.prune", head)
    if answer["gone"] and not dry_run:
        answer["freed_bytes"] += _collected(client)
    if as_json:
        say_json({**answer, "dry_run": dry_run})
        return
    for one in answer["gone"]:
        say(f"{one['key'][:SHORT]}  {plain(one['label'])}")
    for one in answer["held"]:
        say_wrapped(f"{one['key'][:SHORT]}  stays: it is held by a name: {', '.join(one['names'])}", err=True)
    count, freed = len(answer["gone"]), size_text(answer["freed_bytes"])
    if answer["unknown"]:
        say_wrapped("what containers use is not known yet, so nothing goes; try again in a moment", err=True)
    elif dry_run:
        say(f"would remove {count} and free {freed}")
    else:
        say(f"removed {count}, {freed} freed")


def _collected(client: Client) -> int:
    """The bytes of the store that nothing needs any more, once they are gone."""
    try:
        return int(client.request("blobs.collect", {"grace_s": _JUST_SENT_S})["freed"])
    except ConflictError:
        return 0  # the daily collection is at it


async def _inspect_here(key: str) -> dict[str, Any]:
    state = find_state()
    inventory = import_module("squall.images.rooted.inventory").Inventory(state)
    blobs = await import_module("squall.blobs.disk_blobs").DiskBlobs.open(state.blobs)
    try:
        found: dict[str, Any] = await inventory.inspect(key, blobs)
    finally:
        await blobs.close()
    return found


class _LogPrinter:
    """Prints logs, those of several layers under a line that says which."""

    def __init__(self) -> None:
        self._seen = ""

    def take(self, frame: Frame) -> None:
        """One DATA frame: lines of one log."""
        head = frame.head()
        if head.get("parts", 1) > 1:
            self.begin(str(head.get("key", "")), str(head.get("label", "")))
        for line in bytes(frame.payload).decode(errors="replace").splitlines():
            say(plain(line))

    def begin(self, key: str, label: str) -> None:
        """What comes from now on is of this layer."""
        if key != self._seen:
            say(f"== {plain(label)} ({key[:SHORT]})", style="cyan")
        self._seen = key


def _show(found: Mapping[str, Any]) -> None:
    now_s = time.time()
    say(f"key: {found['key']}")
    say_wrapped(f"what: {found['kind']}, {plain(what_of(found))}")
    used = f"used {age(now_s - found['used_s'])} ago"
    users = f"{found['containers']} containers" if found["containers"] else "no container"
    say(f"made {age(now_s - found['made_s'])} ago, {used}, in use by {users}")
    if "config" not in found:
        say(f"size: {size_text(found['size_bytes'])}")
        say_wrapped(f"place: {found['place']}")
        return
    python, config = found["python"], found["config"]
    say(f"python: {python['version']} at {plain(python['path'])}" if python else "python: none")
    say(f"size: {size_text(found['size_bytes'])} in {len(found['layers'])} layers")
    say(f"workdir: {plain(config['workdir'])}")
    say(f"user: {plain(config['user'] or 'root')}")
    for name in ("entrypoint", "cmd"):
        if config[name] is not None:
            say_wrapped(f"{name}: {plain(config[name])}")
    for name, value in config["env"].items():
        say_wrapped(f"env: {plain(name)}={plain(value)}")
    rows = [
        {
            "layer": row["digest"][:SHORT],
            "entries": row["entries"],
            "size": "gone" if row["size_bytes"] is None else size_text(row["size_bytes"]),
            "rendered": "yes" if row["rendered"] else "no",
            "step": row["step"],
        }
        for row in found["layers"]
    ]
    say_table(rows, ("layer", "entries", "size", "rendered", "step"), empty="no layers")


for _module, _name in (
    ("image_build", "build_images"),
    ("image_remote", "pull_image"),
    ("image_remote", "push_image"),
    ("image_remote", "export_image"),
    ("image_names", "publish_image"),
    ("image_names", "names"),
):
    image.add_command(getattr(import_module(f"squall.cli.{_module}"), _name))
