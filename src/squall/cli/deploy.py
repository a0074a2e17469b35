"""`squall deploy`: a file's app as a version that stays."""

import re
import time
from typing import Any

import click

from squall.cli.asking import any_client, follow
from squall.cli.image_build import load_apps
from squall.cli.logs import LogPrinter
from squall.cli.progress import RunWatcher
from squall.cli.screen import say, say_json
from squall.cli.traces import say_traceback
from squall.model.deploy import STRATEGIES
from squall.model.errors import EntrypointNotFound
from squall.sdk.app import App
from squall.sdk.environments import environment_of


@click.command()
@click.argument("target", metavar="FILE[::APP]")
@click.option("-m", "is_module", is_flag=True, help="FILE is a module, not a file.")
@click.option("--name", metavar="NAME", help="Deploy it under this name instead of the app's own.")
@click.option("--env", "environment", metavar="ENVIRONMENT", help="Where, if not in the one that is meant.")
@click.option("--tag", default="", metavar="TAG", help="What stands with the version in its history.")
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    default=STRATEGIES[0],
    show_default=True,
    help="Start it beside the version before, or once that has ended.",
)
@click.option("--stream-logs", is_flag=True, help="Then show what it prints, until Ctrl-C; the app stays.")
@click.option("-q", "--quiet", is_flag=True, help="Show only the version.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def deploy(*, target: str, is_module: bool, quiet: bool, as_json: bool, **wish: Any) -> int:
    """Deploy the app of a FILE: its functions stay, and are called from anywhere.

    The new version is made ready and tried first. Then it takes every new call, while the one before ends those that it has. One
    that cannot be loaded takes none: the one before goes on. A file with several apps has them named after `::`.
    """
    apps = load_apps(target, is_module=is_module)
    if apps is None:
        return 1
    app = _chosen(apps, target)
    watcher = RunWatcher(quiet=quiet)
    name, environment, streams = wish.pop("name"), wish.pop("environment"), wish.pop("stream_logs")
    began_s = time.time()
    try:
        app.deploy(name=name, environment_name=environment, watcher=watcher, **wish)
    except Exception as error:
        watcher.put_away()
        if say_traceback(error):
            return 1
        raise
    finally:
        watcher.put_away()
    told = {
        "app": name or app.name,
        "environment": environment_of(environment),
        "version": app.version,
        "functions": sorted(app.functions),
    }
    if as_json:
        say_json(told)
    else:
        say(f"{told['app']}: version {app.version} serves: {', '.join(sorted(app.functions)) or 'nothing'}")
    if streams:
        place = {"app": told["app"], "environment": told["environment"], "only_deployed": True}
        printer = LogPrinter(as_json=as_json, wanted=re.compile(""))
        follow(any_client(), "logs", {**place, "follow": True, "since": began_s}, printer.take)
    return 0


def _chosen(apps: list[App], target: str) -> App:
    """The app that is named, or the only one. Raises EntrypointNotFound, naming what there is."""
    file, _, name = target.partition("::")
    if not apps:
        raise EntrypointNotFound(f"{file} declares no app: there is no `squall.App(...)` in it")
    found = [app for app in apps if name in {"", app.name}]
    if len(found) != 1:
        what = f"no app {name!r}" if not found else f"{len(found)} apps"
        there = ", ".join(str(app.name or "one without a name") for app in apps)
        raise EntrypointNotFound(
            f"{file} has {what}; it has: {there}", remedy=f"name one: `squall deploy {file}::APP`"
        )
    return found[0]
