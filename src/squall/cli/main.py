"""The command line's entry: finds the command, and says in one place how things went wrong."""

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

# name: (module:attribute, the line that --help shows). Nothing of a command is imported before it is used.
COMMANDS = {
    "run": ("squall.cli.run:run", "Run a file's function or entrypoint in containers."),
    "deploy": ("squall.cli.deploy:deploy", "Deploy a file's app: its functions stay, called from anywhere."),
    "up": ("squall.cli.up:up", "Start this machine's server, if it does not run."),
    "down": ("squall.cli.down:down", "Stop this machine's server and everything it runs."),
    "join": ("squall.cli.join:join", "Make this machine one of another machine's server."),
    "leave": ("squall.cli.join:leave", "Take this machine back from the server that it joined."),
    "token": ("squall.cli.token:token", "Make, list and revoke the tokens that let others in."),
    "node": ("squall.cli.node:node", "List the machines that run containers, remove some."),
    "profile": ("squall.cli.profile:profile", "Name servers on other machines, choose one."),
    "status": ("squall.cli.status:status", "Show what runs, with its processes."),
    "logs": ("squall.cli.logs:logs", "Show what containers, or our own processes, have printed."),
    "app": ("squall.cli.app:app", "List apps, their versions, go back to one, stop them."),
    "function": ("squall.cli.function:function", "List the functions of apps."),
    "environment": ("squall.cli.environment:environment", "Make, list and delete environments."),
    "container": ("squall.cli.container:container", "List containers, look into them, stop them."),
    "call": ("squall.cli.call:call", "List inputs of spawned calls that failed, and have them run again."),
    "dict": ("squall.cli.shared_dict:dict_", "Make Dicts, look into them, clear and delete them."),
    "queue": ("squall.cli.shared_queue:queue", "Make Queues, look into them, clear and delete them."),
    "secret": ("squall.cli.secret:secret", "Make secrets, change, list and delete them."),
    "volume": ("squall.cli.volume:volume", "Make volumes, look into them, change them, go back."),
    "usage": ("squall.cli.usage:usage", "Show what functions took: core-seconds, GiB-seconds, GPU-seconds."),
    "image": ("squall.cli.image:image", "Build images, look at them, fetch them, send them, remove them."),
    "shell": ("squall.cli.shell:shell", "Open a shell in a running container, or in an image."),
    "doctor": ("squall.cli.doctor:doctor", "Look at this machine: what each feature gets here, and why."),
    "backup": ("squall.cli.backup:backup", "Copy the record of calls into a file."),
    "restore": ("squall.cli.restore:restore", "Put a backup in the record's place."),
    "migrate": ("squall.cli.migrate:migrate", "Take the record back to what an older version reads."),
    "testing": ("squall.cli.testing:testing", "Show what Squall does on this machine."),
    "simulate": (
        "squall.cli.simulate:simulate",
        "Show what scaling would do with given traffic, without running anything.",
    ),
    "explain": ("squall.cli.explain:explain", "Explain an error code, or list every code and every option."),
    "completion": ("squall.cli.completion:completion", "Print the completion script of a shell."),
    "version": ("squall.cli.version:version", "Show the version of this program and of the server."),
}

DONE, FAILED, MISUSED, NOT_RUNNING, INTERRUPTED = 0, 1, 2, 3, 130


class Commands(click.Group):
    """The commands of COMMANDS, each imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in {"run", "deploy"} and not ctx.resilient_parsing:
            from squall.cli.early import begin

            begin(args[1:])
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        # What is imported stays: looking through it for garbage takes a tenth of the time of importing it.
        gc.disable()
        try:
            command: click.Command = getattr(import_module(module), attribute)
        finally:
            gc.freeze()
            gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done, 1 an error was reported, 2 wrong use, 3 no server runs, 130 interrupted.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, help="Show the version.",
              callback=lambda ctx, _, asked: _show_version(ctx) if asked else None)  # fmt: skip
def squall() -> None:
    """Run Python functions in isolated containers that the code itself declares."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: see the epilog for the status."""
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """The exit status of one command; errors that have a name are printed, without a traceback."""
    try:
        # The commands return nothing, or their exit status.
        status = squall.main(
            args=list(arguments) if arguments is not None else None, prog_name="squall", standalone_mode=False
        )
        return status if isinstance(status, int) else DONE
    except click.exceptions.Exit as asked:
        return asked.exit_code
    except click.ClickException as misuse:
        _say_misuse(misuse)
        return MISUSED
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read has seen enough; Python must not complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except (
        Exception
    ) as problem:  # what a command raises ends here: named errors are said, others are ours to show
        from squall.cli.screen import say_error

        if not say_error(problem):
            raise
        return FAILED


def _say_misuse(misuse: click.ClickException) -> None:
    context = misuse.ctx if isinstance(misuse, click.UsageError) else None
    if context is not None:
        click.echo(context.get_usage(), err=True)
    click.echo(f"error[SQ-1020]: {misuse.format_message()}", err=True)
    if context is not None:
        click.echo(f"  what to do: see `{context.command_path} --help`", err=True)


def _show_version(context: click.Context) -> None:
    from squall.settings.version import VERSION

    click.echo(f"squall {VERSION}")
    context.exit()
