"""Secret input: what nobody should see in a list of processes, from a variable, a prompt or standard input."""

import os
import sys

import click

from squall.model.errors import UsageError


def read_secret(variable: str, what: str) -> str:
    """The secret in a variable; else what is typed, unseen, or stands on standard input. Raises UsageError for none."""
    found = os.environ.get(variable, "").strip()
    if not found and sys.stdin.isatty():
        found = click.prompt(what, hide_input=True, err=True).strip()
    elif not found:
        found = sys.stdin.readline().strip()
    if not found:
        raise UsageError(
            f"no {what} was given", remedy=f"set {variable}, or give the {what} on standard input"
        )
    return found
