"""`squall completion`: the completion script of a shell."""

import os
from pathlib import PurePath

import click
from click.shell_completion import get_completion_class

from squall.model.errors import UsageError

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", required=False, type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, *, shell: str | None) -> None:
    """Print the completion script of a SHELL (bash, zsh, fish), by default of the one in use.

    For example, in ~/.bashrc: eval "$(squall completion bash)"
    """
    chosen = shell or PurePath(os.environ.get("SHELL", "")).name
    known = get_completion_class(chosen) if chosen in _SHELLS else None
    if known is None:
        raise UsageError(
            f"no completion for the shell {chosen!r}", remedy=f"name one of {', '.join(_SHELLS)}"
        )
    root = context.find_root()
    click.echo(known(root.command, {}, "squall", "_SQUALL_COMPLETE").source())
