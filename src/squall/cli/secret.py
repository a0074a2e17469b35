"""`squall secret`: make secrets, change, list and delete them, change the master key. Values are never arguments."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from squall.cli.asking import any_client
from squall.cli.screen import age, plain, say, say_json, say_table
from squall.model.deploy import check_name
from squall.model.errors import InvalidError, SecretValueGiven, UsageError
from squall.model.secret import MOST_BYTES, check_variable, check_variables
from squall.sdk.blocking import run_blocking
from squall.sdk.dotenv import parse_dotenv, read_dotenv
from squall.sdk.environments import environment_of
from squall.sdk.lanes import ask
from squall.sdk.secret import Secret
from squall.sdk.secret_objects import SecretInfo, put

_ENVIRONMENT = click.option(
    "--env", "environment", metavar="ENVIRONMENT", help="Where it is (main, or the option)."
)
_FILE = click.option(
    "--from-file",
    "file",
    metavar="FILE",
    help="Read variables and their values from FILE, lines NAME=value or a JSON object; `-` is standard input.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def secret() -> None:
    """Make secrets, change, list and delete them.

    Values are asked for, or read from standard input or a file; they are never arguments, which everybody on a machine
    may read. They are kept sealed, and no command shows one.
    """


@secret.command("create")
@click.argument("name", metavar="NAME")
@click.argument("variables", metavar="[VARIABLE]...", nargs=-1)
@_FILE
@click.option("--force", is_flag=True, help="Replace it where it is there, with all its variables.")
@_ENVIRONMENT
@_JSON
def create(*, name: str, variables: tuple[str, ...], file: str | None, force: bool, **how: Any) -> None:
    """Make the secret NAME of these VARIABLEs, whose values are asked for."""
    values = _values(name, variables, file)
    any_client()
    made = run_blocking(
        put(name, values, how="replace" if force else "new", environment_name=how["environment"])
    )
    _say_made("created" if made.version == 1 else "replaced", made, as_json=how["as_json"])


@secret.command("update")
@click.argument("name", metavar="NAME")
@click.argument("variables", metavar="[VARIABLE]...", nargs=-1)
@_FILE
@_ENVIRONMENT
@_JSON
def update(
    *, name: str, variables: tuple[str, ...], file: str | None, environment: str | None, as_json: bool
) -> None:
    """Set VARIABLEs of the secret NAME, and leave its others as they are.

    Containers that start from then on have the new values; those that run keep theirs.
    """
    values = _values(name, variables, file)
    any_client()
    made = run_blocking(put(name, values, how="merge", environment_name=environment))
    _say_made("updated", made, as_json=as_json)


@secret.command("list")
@_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_(*, environment: str | None, as_json: bool) -> None:
    """List the secrets of an environment, with the names of their variables."""
    any_client()
    frame = run_blocking(ask("secret.list", {"environment": environment_of(environment)}))
    rows = json.loads(bytes(frame.payload))
    if as_json:
        say_json(rows)
        return
    now_s = time.time()
    shown = [
        row | {"variables": ", ".join(row["variables"]), "age": age(now_s - row["created_s"])} for row in rows
    ]
    say_table(
        shown,
        ("name", "variables", "version", "age"),
        empty="no secrets: `squall secret create NAME VARIABLE...` makes one",
    )


@secret.command("delete")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--allow-missing", is_flag=True, help="Leave out those that are not there.")
@_ENVIRONMENT
@_JSON
def delete(*, names: tuple[str, ...], allow_missing: bool, environment: str | None, as_json: bool) -> None:
    """Delete secrets with all their versions; containers that run keep what they have."""
    any_client()
    for name in names:
        Secret.objects.delete(name, allow_missing=allow_missing, environment_name=environment)
        if not as_json:
            say(f"deleted {plain(name)}")
    if as_json:
        say_json({"deleted": list(names)})


@secret.command("rotate-key")
@_JSON
def rotate_key(*, as_json: bool) -> None:
    """Change the master key, under which the keys of all secrets are put.

    Values and versions stay as they are. Broken off, it goes on when the server starts.
    """
    any_client()
    # Which key it is that goes, so that asked again, as an answer was lost, it is changed once.
    now = json.loads(bytes(run_blocking(ask("secret.rotate", {})).payload))
    told = json.loads(bytes(run_blocking(ask("secret.rotate", {"after": now["key"]})).payload))
    if as_json:
        say_json(told)
        return
    say(f"the master key is {told['key']} now; {told['rewrapped']} sealed values were put under it")


def _values(name: str, variables: tuple[str, ...], file: str | None) -> dict[str, str]:
    """What was asked for, read or typed. Raises NameInvalid, SecretValueGiven, UsageError, InvalidError."""
    check_name("a secret", name)
    for variable in variables:
        if "=" in variable:
            named = variable.partition("=")[0]
            # Not a word of what is behind it: this is printed.
            raise SecretValueGiven(
                f"a value of {named} stands on the command line, where others can read it",
                remedy=f"write `squall secret create {name} {named}`, and give the value when it is asked for; choose "
                "another value than this one, which has been seen",
            )
        check_variable(variable, None)
    if file is not None and variables:
        raise UsageError(
            "variables are named, and a file has them too", remedy="give either names or --from-file"
        )
    if file is not None:
        return check_variables(_from_file(file))
    if not variables:
        raise UsageError(
            f"no variable of the secret {name!r} is named",
            remedy=f"write `squall secret create {name} VARIABLE...`, or `--from-file .env`",
        )
    return check_variables({variable: _typed(variable) for variable in dict.fromkeys(variables)})


def _typed(variable: str) -> str:
    """A value that is typed unseen, or is the next line of standard input."""
    if sys.stdin.isatty():
        typed: str = click.prompt(f"{variable}", hide_input=True, err=True, default="", show_default=False)
        return typed
    line = sys.stdin.readline()
    if not line:
        raise UsageError(
            f"no value for {variable} on standard input",
            remedy="give a line for each variable, in their order, or use `--from-file -`",
        )
    return line.removesuffix("\n")


def _from_file(file: str) -> dict[str, Any]:
    if file == "-":
        return _parsed(sys.stdin.read(MOST_BYTES + 1), "standard input")
    path = Path(file)
    try:
        text = path.read_text(encoding="utf-8") if path.suffix == ".json" else None
    except OSError as problem:
        raise InvalidError(f"{file} cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidError(f"{file} is no text in UTF-8") from None
    return read_dotenv(path) if text is None else _parsed(text, file)


def _parsed(text: str, where: str) -> dict[str, Any]:
    """A JSON object, or lines NAME=value."""
    if not text.lstrip().startswith("{"):
        return dict(parse_dotenv(text, where=where))
    try:
        found = json.loads(text)
    except ValueError:
        # Not what is wrong with it, which would show a part.
        raise InvalidError(
            f"{where} is no JSON", remedy='write {"NAME": "value"}, or lines NAME=value'
        ) from None
    assert isinstance(found, dict), "it begins with a brace"
    return found


def _say_made(what: str, made: SecretInfo, *, as_json: bool) -> None:
    if as_json:
        say_json(
            {
                "name": made.name,
                "environment": made.environment,
                "version": made.version,
                "variables": list(made.variables),
            }
        )
        return
    where = "" if made.environment == "main" else f" in {plain(made.environment)}"
    say(f"{what} {plain(made.name)}{where}: version {made.version} with {', '.join(made.variables)}")
