"""Flags: the parameters of a user's function, parsed from the command line."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from squall.sdk.entrypoint import Flag

_TYPES: dict[Any, Any] = {
    str: click.STRING,
    int: click.INT,
    float: click.FLOAT,
    Path: click.Path(path_type=Path),
    dt.datetime: click.DateTime(),
}


class FlagCommand(click.Command):
    """A command that only parses."""

    def parse(self, arguments: list[str]) -> dict[str, Any]:
        """The values by parameter name; those left out are not among them. Raises click's UsageError, or Exit for --help."""
        with self.make_context(self.name, arguments) as context:
            return {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in context.params.items()
                if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
            }


def command_for(flags: Sequence[Flag], *, name: str, help_text: str = "") -> FlagCommand:
    """The command whose options are these flags. A required one may also be given by its place."""
    parameters: list[click.Parameter] = [_option(flag) for flag in flags]
    return FlagCommand(
        name, params=parameters, help=help_text, context_settings={"help_option_names": ["-h", "--help"]}
    )


def _option(flag: Flag) -> click.Option:
    kind = click.Choice(flag.kind) if isinstance(flag.kind, tuple) else _TYPES.get(flag.kind)
    if flag.kind is bool:
        words = f"{flag.option}/--no-{flag.option[2:]}"
        return click.Option(
            [words, flag.name], required=flag.required, default=flag.default, show_default=True
        )
    if flag.required:
        return click.Option([flag.option, flag.name], type=kind, required=True, multiple=flag.many)
    default = list(flag.default) if flag.many and flag.default else flag.default
    return click.Option(
        [flag.option, flag.name],
        type=kind,
        default=default,
        multiple=flag.many,
        show_default=default is not None,
    )
