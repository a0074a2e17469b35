"""`squall explain`: an error code, every code, or every option."""

import inspect
from typing import Any

import click

from squall.cli.screen import say, say_json, say_table
from squall.model.errors import Error, NotFoundError, by_code
from squall.model.explanations import explain as explanation
from squall.settings.options import describe


@click.command()
@click.argument("what", required=False, metavar="[CODE|options]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(*, what: str | None, as_json: bool) -> None:
    """Explain an error CODE (SQ-1234), or list every code, or with `options` every option."""
    if what == "options":
        _options(as_json=as_json)
    elif what is None:
        rows = [
            {"code": code, "name": error.__name__, "means": _means(error)[0]}
            for code, error in by_code().items()
        ]
        say_json(rows) if as_json else say_table(rows, ("code", "name", "means"), empty="no codes")
    else:
        _code(what, as_json=as_json)


def _code(what: str, *, as_json: bool) -> None:
    code = what.upper() if what.upper().startswith("SQ-") else f"SQ-{what}"
    error = by_code().get(code)
    if error is None:
        raise NotFoundError(f"there is no error code {what!r}", remedy="`squall explain` lists every code")
    if as_json:
        say_json({"code": code, "name": error.__name__, "means": "\n".join(_means(error)), "remedy": error.remedy,
                  "status": error.status})  # fmt: skip
        return
    head, _, rest = (explanation(code) or "").partition("\n")
    say(head, style="bright_cyan")
    say(rest.strip("\n"))


def _options(*, as_json: bool) -> None:
    rows: list[dict[str, Any]] = describe()
    if as_json:
        say_json(rows)
        return
    say("set in config.toml of the state directory (idle_s = 60), or in the environment (SQUALL_IDLE_S=60)")
    say_table(rows, ("name", "default", "least", "most", "means"), empty="no options")


def _means(error: type[Error]) -> list[str]:
    return inspect.cleandoc(error.__doc__ or error.__name__).splitlines()
