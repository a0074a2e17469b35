"""`squall image pull`, `push` and `export`: images from registries, and into registries and files."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from squall.cli.amounts import size_text
from squall.cli.asking import any_client, follow, require_own_server
from squall.cli.progress import RunWatcher
from squall.cli.screen import plain, say, say_json
from squall.model.errors import UsageError
from squall.wire.codec import Frame

_SHORT = 12
_MOST_PASSWORD = 64 * 1024

_login = click.option(
    "--login",
    "user",
    default="",
    metavar="USER",
    help="Log in as USER; the password is asked for, or is the first line of standard input.",
)


@click.command("pull")
@click.argument("reference", metavar="REFERENCE")
@_login
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def pull_image(*, reference: str, user: str, as_json: bool) -> None:
    """Fetch an image from a registry.

    `Image.from_registry(REFERENCE)` then finds it here. Without --login it is fetched as the user whom `docker login` or `podman login` has logged in on this machine.
    """
    answer = _ask("image.pull", {"reference": reference, **_login_of(user)})
    if as_json:
        say_json(answer)
        return
    row = answer["image"]
    how = "pulled" if answer["new"] else "here already"
    size = f"{row['layers']} layers, {size_text(row['size_bytes'])}"
    say(f"{row['key'][:_SHORT]}  {plain(answer['reference'])}: {size}; {how}")


@click.command("push")
@click.argument("key", metavar="KEY")
@click.argument("reference", metavar="REFERENCE")
@_login
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def push_image(*, key: str, reference: str, user: str, as_json: bool) -> None:
    """Send an image to a registry.

    REFERENCE, such as HOST/NAME:TAG, names it there from then on.
    """
    answer = _ask("image.push", {"key": key, "reference": reference, **_login_of(user)})
    if as_json:
        say_json(answer)
        return
    sent = f"{answer['sent']} blobs sent" if answer["sent"] else "all of it was there already"
    say(f"pushed {answer['key'][:_SHORT]} to {plain(answer['reference'])}: {sent}")
    say(answer["digest"])


@click.command("export")
@click.argument("key", metavar="KEY")
@click.argument("path", metavar="PATH")
@click.option("--format", "form", type=click.Choice(["oci-archive", "oci-dir"]), default=None,
              help="One file, or a directory; by default a file where PATH ends in .tar.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def export_image(*, key: str, path: str, form: str | None, as_json: bool) -> None:
    """Write an image to a new file or directory.

    skopeo, podman and others read it as oci-archive:PATH or oci:PATH.
    """
    require_own_server("squall image export")
    target = Path(os.path.abspath(path))
    chosen = form or ("oci-archive" if target.suffix == ".tar" else "oci-dir")
    answer = _ask("image.export", {"key": key, "path": str(target), "format": chosen})
    if as_json:
        say_json({**answer, "format": chosen})
    else:
        say(f"exported {answer['key'][:_SHORT]} to {plain(path)} ({chosen})")
        say(answer["digest"])


def _ask(name: str, wish: dict[str, Any]) -> dict[str, Any]:
    """Asks, with what is said meanwhile on standard error. What is asked travels apart from what might be logged."""
    watcher = RunWatcher()

    def take(frame: Frame) -> None:
        watcher.on_event({"build": frame.head()}, memoryview(b""))

    client = any_client(lambda text: watcher.step("server", text))
    try:
        return follow(client, name, {}, take, json.dumps(wish).encode())
    finally:
        watcher.put_away()


def _login_of(user: str) -> dict[str, Any]:
    if not user:
        return {}
    if sys.stdin.isatty():
        password = str(click.prompt(f"password of {user}", hide_input=True, err=True))
    else:
        password = sys.stdin.readline(_MOST_PASSWORD).rstrip("\r\n")
    if not password:
        raise UsageError(
            f"no password for {user} came",
            remedy="type it, or give it on standard input: `squall image pull --login USER NAME < FILE`",
        )
    return {"login": {"user": user, "password": password}}
