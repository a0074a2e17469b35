"""`squall run`: a file's entrypoint or function, with its functions in containers."""

import os
import sys
from typing import Any

import click

from squall.cli.flags import command_for
from squall.cli.progress import RunWatcher
from squall.cli.target import Target, find_target, load_target
from squall.cli.traces import say_traceback
from squall.sdk.environments import VARIABLE, environment_of
from squall.sdk.map_progress import begin_showing, end_showing


@click.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": [],
    }
)
@click.option("-m", "module", is_flag=True, help="TARGET is a module, not a file.")
@click.option("-q", "--quiet", is_flag=True, help="Show only what the program prints.")
@click.option(
    "--start-path",
    type=click.Choice(["spare", "pooled", "on_demand", "parked", "exec"]),
    help="Start every container in this way or not at all: for diagnosis.",
)
@click.option(
    "--env",
    "environment",
    metavar="ENVIRONMENT",
    help="Where names are looked up, if not in the one that is meant.",
)
@click.option("--detach", is_flag=True, help="Not here: `squall deploy` has an app stay.")
@click.option("-h", "--help", "wants_help", is_flag=True, help="Show this, or the flags of TARGET.")
@click.argument("target", metavar="TARGET", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(*, target: str | None, arguments: tuple[str, ...], **wish: Any) -> int:
    """Run TARGET: FILE, FILE::NAME, `-m MODULE[::NAME]`, or `-` for a program on standard input.

    NAME is an entrypoint (`@app.local_entrypoint()`) or a function (`@app.function()`); with one entrypoint, or else
    one function, it may be left out. ARGUMENTS are its flags: `--n 3`. `squall run TARGET --help` lists them.
    """
    context = click.get_current_context()
    if target is None:
        if not wish["wants_help"]:
            raise click.UsageError("which file shall be run?", context)
        click.echo(context.get_help())
        return 0
    if wish["detach"]:
        raise click.UsageError(
            "an app that outlives its client is deployed: use `squall deploy`, or leave --detach out", context
        )
    if wish["start_path"]:
        os.environ["SQUALL_START_PATH"] = wish["start_path"]
    if wish["environment"] is not None:
        os.environ[VARIABLE] = environment_of(wish["environment"])
    try:
        module = load_target(find_target(target, is_module=wish["module"]))
    except (Exception, SystemExit) as error:
        if say_traceback(error, in_file=True):
            return 1
        raise
    chosen = Target.choose(module, target)
    if wish["wants_help"]:
        arguments = (*arguments, "--help")
    flags = command_for(chosen.flags(), name=f"squall run {target}", help_text=chosen.help).parse(
        list(arguments)
    )
    watcher = RunWatcher(quiet=wish["quiet"])
    begin_showing(watcher)
    try:
        with chosen.app.run(watcher=watcher), watcher.judging():
            result = chosen.call(flags)
    except KeyboardInterrupt:
        watcher.interrupted()
        return 130
    except SystemExit as ended:
        return _status(ended)
    except BaseException as error:
        if say_traceback(error):
            return 1
        raise
    finally:
        end_showing(watcher)
        watcher.put_away()
    if result is not None and chosen.shows_result:
        click.echo(result if isinstance(result, str) else repr(result))
    return 0


def _status(ended: SystemExit) -> int:
    if isinstance(ended.code, int) or ended.code is None:
        return ended.code or 0
    print(ended.code, file=sys.stderr)
    return 1
