"""`squall image build`: the images of a program's functions, built without running anything."""

import json
import time
from collections.abc import Mapping
from typing import Any

import click

from squall.cli.asking import follow
from squall.cli.progress import RunWatcher
from squall.cli.screen import plain, say, say_wrapped
from squall.cli.target import apps_in, find_target, load_target
from squall.cli.traces import say_traceback
from squall.model.errors import FunctionNotFound
from squall.sdk.app import App
from squall.sdk.blocking import run_blocking
from squall.sdk.client import Client
from squall.wire.codec import Frame

_SHORT = 12


@click.command("build")
@click.argument("target", metavar="FILE[::FUNCTION]")
@click.option("-m", "is_module", is_flag=True, help="FILE is a module, not a file.")
@click.option("-q", "--quiet", is_flag=True, help="Show only the images.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, for each image.")
def build_images(*, target: str, is_module: bool, quiet: bool, as_json: bool) -> int:
    """Build the images of a file's functions; run nothing.

    With ::FUNCTION, only that of one of them. What is said while they are built goes to standard error; each image's key to standard output.
    """
    apps = load_apps(target, is_module=is_module)
    if apps is None:
        return 1
    check_functions(apps, target, "squall image build")
    name = target.partition("::")[2]
    watcher = RunWatcher(quiet=quiet)
    try:
        for app in apps:
            _build(app, name, watcher, as_json=as_json)
    finally:
        watcher.put_away()
    return 0


def load_apps(target: str, *, is_module: bool) -> list[App] | None:
    """The apps that a file declares; None where its own code failed, which has been said then."""
    try:
        return apps_in(load_target(find_target(target, is_module=is_module)))
    except (Exception, SystemExit) as error:
        if say_traceback(error, in_file=True):
            return None
        raise


def check_functions(apps: list[App], target: str, command: str) -> None:
    """Raise FunctionNotFound where a target names no function of a file, or the file has none."""
    file, _, name = target.partition("::")
    there = [function for app in apps for function in app.functions]
    if not there or (name and name not in there):
        what = f"no function {name!r}" if name else "no function"
        raise FunctionNotFound(
            f"{file} has {what}; it has: {', '.join(there) or 'nothing that has an image'}",
            remedy=f"name one of its functions: `{command} {file}::FUNCTION`",
        )


def what_of(row: Mapping[str, Any]) -> str:
    """What an image is, in a few words: what it stands on, and its last step."""
    kind = "" if row["kind"] in {"image", "base"} else f"{row['kind']}: "
    if row["base"] == row["label"] or row["kind"] == "host layer":
        return f"{kind}{row['label']}"
    return f"{kind}{row['base']}, {row['label']}"


def _build(app: App, name: str, watcher: RunWatcher, *, as_json: bool) -> None:
    # As it is used: it imports what ships sources.
    from squall.sdk.session import AppRun

    run = AppRun(app, watcher)
    run.prepare()
    client = Client.here()
    for wants, functions in run_blocking(run.wanted_images()):
        wanted = [function for function in functions if name in {"", function}]
        if wanted:
            watcher.step("image", f"building the image of {', '.join(wanted)}")
            began_s = time.monotonic()
            payload = json.dumps(wants).encode()
            built = follow(client, "image.build", {}, _lines(watcher), payload)
            watcher.put_away()
            _say_built({**built, "functions": wanted, "took_s": time.monotonic() - began_s}, as_json=as_json)


def _lines(watcher: RunWatcher) -> Any:
    def take(frame: Frame) -> None:
        watcher.on_event({"build": frame.head()}, memoryview(b""))

    return take


def _say_built(built: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**built, "took_s": round(built["took_s"], 3)}))
        return
    from squall.cli.amounts import size_text

    row, functions = built["image"], ", ".join(map(plain, built["functions"]))
    how = f"built in {built['took_s']:.1f} s" if built["new"] else "is here already"
    if row is not None:
        size = f"{row['layers']} layers, {size_text(row['size_bytes'])}"
        say_wrapped(f"{row['key'][:_SHORT]}  {functions}: {plain(what_of(row))}; {size}; {how}", hang=14)
    elif built["layers"]:
        say(f"{built['layers'][0][:_SHORT]}  {functions}: the host image with a layer of its own; {how}")
    else:
        say(f"{'-':<{_SHORT}}  {functions}: the host image, for which nothing is built")
