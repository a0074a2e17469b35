"""`squall budget`: how much may be spent in a day or a month, by an environment, an app, a tag, or all."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click

from squall.cli.asking import any_client
from squall.cli.screen import plain, say, say_json, say_table
from squall.model.budget import Period, Unit

_UNITS: Final = {"money": Unit.MONEY, "seconds": Unit.SECONDS, "gpu-seconds": Unit.GPU_SECONDS}
_STYLES: Final = {"reached": "red", "warning": "yellow", "unpriced": "yellow"}
Command = Callable[..., None]


def _scoped(command: Command) -> Command:
    """The flags that say which budget is meant."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option(
            "--unit",
            type=click.Choice(list(_UNITS)),
            default="money",
            show_default=True,
            help="What is counted: money by the operator's prices, seconds of containers, or seconds of GPUs.",
        ),
        click.option(
            "--per",
            type=click.Choice([period.value for period in Period]),
            default="month",
            show_default=True,
            help="For each day or each month of the calendar, in UTC.",
        ),
        click.option("--tag", default="", metavar="KEY=VALUE", help="Of apps that have this tag."),
        click.option("--app", default="", metavar="NAME", help="Of apps of this name."),
        click.option("--env", "environment", default="", metavar="NAME", help="Of this environment."),
    ):
        command = option(command)
    return command


@click.group("budget")
def budget() -> None:
    """Set, list and remove budgets.

    A budget that is reached drains what it is for: what runs is finished, what is new is refused and says so, and calls made with
    `.spawn` wait on record. It opens again with the next day or month, or once it is raised. From 80 % on it is warned of.
    """


@budget.command("set")
@click.argument("amount", metavar="AMOUNT", type=click.FloatRange(0))
@_scoped
def set_(*, amount: float, as_json: bool, **scope: str) -> None:
    """Allow at most AMOUNT; in place of the budget for the same, if there is one."""
    wanted = {**_wanted(**scope), "amount": amount}
    told = any_client().request("budget.set", {"budget": wanted})["budget"]
    if as_json:
        say_json(told)
        return
    say(plain(f"{told['scope']}: {_amount(told, told['amount'])} a {told['period']}, {_used(told)}"))


@budget.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_(*, as_json: bool) -> None:
    """List the budgets, and how much of each is used up."""
    told = any_client().request("budget.list", {})["budgets"]
    if as_json:
        say_json(told)
        return
    say_budgets(told)


@budget.command("remove")
@_scoped
def remove(*, as_json: bool, **scope: str) -> None:
    """Remove the budget that these flags mean: what it held back goes on."""
    wanted = _wanted(**scope)
    told = any_client().request("budget.remove", {"budget": wanted})["removed"]
    if as_json:
        say_json(told)
    else:
        say("removed")


def say_budgets(budgets: Sequence[Mapping[str, Any]]) -> None:
    """Budgets as a table, those that are reached or nearly so with words below."""
    rows = [
        {
            "budget": one["scope"],
            "amount": f"{_amount(one, one['amount'])} a {one['period']}",
            "spent": _amount(one, one["spent"]),
            "used": f"{one['spent'] / one['amount']:.0%}" if one["amount"] else "100%",
            "state": one["state"],
            "opens": _time(one["opens_s"]) if one["state"] == "reached" else "",
        }
        for one in budgets
    ]
    say_table(
        rows,
        ("budget", "amount", "spent", "used", "state", "opens"),
        empty="no budget is set: `squall budget set`",
    )
    for one in budgets:
        words = _words(one)
        if words:
            say(plain(words), style=_STYLES.get(one["state"], ""), err=True)


def _words(one: Mapping[str, Any]) -> str:
    match one["state"]:
        case "reached":
            return f"{one['scope']}: nothing new is taken until {_time(one['opens_s'])} UTC, or until the budget is raised"
        case "warning":
            return f"{one['scope']}: {one['spent'] / one['amount']:.0%} is used up"
        case "unpriced":
            return f"{one['scope']}: there is no table of prices, so this budget holds nothing back"
        case _:
            return ""


def _wanted(environment: str, app: str, tag: str, per: str, unit: str) -> dict[str, Any]:
    return {"environment": environment, "app": app, "tag": tag, "period": per, "unit": _UNITS[unit].value}


def _used(one: Mapping[str, Any]) -> str:
    return f"{_amount(one, one['spent'])} spent so far"


def _amount(one: Mapping[str, Any], amount: float) -> str:
    if one["unit"] == "money":
        return f"{amount:,.2f} {one['currency']}".rstrip()
    return f"{amount:,.0f} {'GPU-seconds' if one['unit'] == 'gpu_seconds' else 'seconds'}"


def _time(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at_s))
