"""`squall volume put` and `squall volume get`: files into a volume and out of it, with how far it is."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Final

import click

from squall.cli.amounts import size_text
from squall.cli.asking import any_client
from squall.cli.screen import coloured, plain, say, say_json
from squall.cli.volume_options import AS_JSON, ENVIRONMENT, VERSION, which
from squall.model.errors import SourceFileNotFound
from squall.sdk.blocking import run_blocking
from squall.sdk.volume import Volume
from squall.sdk.volume_download import Download
from squall.sdk.volume_upload import Sent

_SAID_EVERY_S: Final = 10.0


@click.command("put")
@click.argument("name", metavar="NAME")
@click.argument("local", metavar="LOCAL")
@click.argument("path", metavar="PATH", default="/")
@click.option("-f", "--force", is_flag=True, help="Overwrite files that are there.")
@ENVIRONMENT
@AS_JSON
def put_files(
    *, name: str, local: str, path: str, force: bool, environment: str | None, as_json: bool
) -> None:
    """Put a file or a directory of this machine into a volume, as one version of it.

    A file comes to PATH, or into it where PATH ends in /; of a directory, what is in it comes into PATH. LOCAL - is
    standard input.
    """
    any_client()
    upload = Volume.from_name(name, environment_name=environment).batch_upload(force=force)
    with _shown(f"put {local}") as watch:
        upload.watch = watch
        with upload:
            if local == "-":
                upload.put_file(sys.stdin.buffer, path)
            elif os.path.isdir(local):
                upload.put_directory(local, path)
            elif path.endswith("/"):
                upload.put_file(local, path + os.path.basename(local))
            else:
                upload.put_file(local, path)
    sent = upload.sent
    if as_json:
        say_json(
            {
                "version": upload.version,
                "files": sent.files,
                "bytes": sent.bytes,
                "sent_bytes": sent.sent_bytes,
            }
        )
    else:
        new = "" if sent.sent_bytes == sent.bytes else f", {size_text(sent.sent_bytes)} of it new"
        say(f"put {_files(sent)} into {plain(name)}{new}: version {upload.version}")


@click.command("get")
@click.argument("name", metavar="NAME")
@click.argument("path", metavar="PATH")
@click.argument("local", metavar="LOCAL", default=".")
@click.option("-f", "--force", is_flag=True, help="Overwrite files that are there.")
@VERSION
@ENVIRONMENT
@AS_JSON
def get_files(
    *,
    name: str,
    path: str,
    local: str,
    force: bool,
    version: str | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Get a file or a directory of a volume onto this machine.

    It comes to LOCAL, or into it where that is a directory. LOCAL - is standard output, for one file.
    """
    any_client()
    found = Volume.from_name(name, environment_name=environment)
    asked = which(version)
    if local == "-":
        for part in found.read_file(path, version=asked):
            sys.stdout.buffer.write(part)
        return
    if not os.path.isdir(os.path.dirname(os.path.abspath(local))):
        raise SourceFileNotFound(
            f"there is no directory for {local}", remedy="make it first, or name one that is there"
        )
    with _shown(f"get {path}") as watch:
        download = Download(found, path, force=force, version=asked, watch=watch)
        place, sent = run_blocking(download.to(local))
    if as_json:
        say_json({"place": place, "version": download.version, "files": sent.files, "bytes": sent.bytes})
    else:
        say(f"got {_files(sent)} of {plain(name)}: {plain(place)}")
        if download.left_out:
            say(f"left out {download.left_out} pipes", style="yellow", err=True)


@contextlib.contextmanager
def _shown(what: str) -> Iterator[Callable[[Sent], None]]:
    """On a terminal a bar says how far it is, elsewhere a line every now and then."""
    if not coloured(sys.stderr):
        yield _Lines(what)
        return
    console = import_module("rich.console").Console(stderr=True)
    bars = import_module("rich.progress")
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(binary_units=True),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(plain(what), total=None)
        yield lambda sent: progress.update(task, total=sent.bytes, completed=sent.done_bytes)


class _Lines:
    """Says how far it is where that takes long."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._said_s = time.monotonic()

    def __call__(self, sent: Sent) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s >= _SAID_EVERY_S:
            self._said_s = now_s
            done = f"{size_text(sent.done_bytes)} of {size_text(sent.bytes)}"
            say(f"{plain(self._what)}: {done}", err=True)


def _files(sent: Sent) -> str:
    return f"{sent.files:,} file{'' if sent.files == 1 else 's'} ({size_text(sent.bytes)})"
