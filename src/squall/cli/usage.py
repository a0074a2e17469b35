"""`squall usage`: what functions, apps, tags, calls and days took of the machines, and what it costs."""

import time
from collections.abc import Mapping
from typing import Any, Final

import click

from squall.cli.amounts import seconds_in
from squall.cli.asking import any_client
from squall.cli.budget import say_budgets
from squall.cli.screen import plain, say, say_json, say_table

_GIB: Final = 2**30
_BY: Final = ("function", "app", "environment", "tag", "gpu", "call", "day")


@click.group("usage", invoke_without_command=True)
@click.option(
    "--since",
    default="1d",
    show_default=True,
    metavar="AGE",
    help="Of containers that ended since: 30s, 10m, 2h, 1d.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def usage(context: click.Context, *, since: str, as_json: bool) -> None:
    """Show what the containers of each function took that have ended: core-seconds, GiB-seconds and GPU-seconds.

    `report` also counts those that run, by function, app, tag, call or day, with what it costs; `summary` shows today, this month
    and the budgets. `squall budget` sets these.
    """
    if context.invoked_subcommand is not None:
        return
    since_s = time.time() - seconds_in("--since", since)
    rows = any_client().request("usage", {"since_s": since_s})["usage"]
    if as_json:
        say_json(rows)
        return
    shown = [
        {
            "function": row["function"],
            "containers": row["containers"],
            "seconds": f"{row['container_s']:.1f}",
            "cpu_s": f"{row['cpu_s']:.2f}",
            "cpu_kept_s": f"{row['cpu_kept_s']:.2f}",
            "gib_s": f"{row['memory_byte_s'] / _GIB:.2f}",
            "gib_kept_s": f"{row['memory_kept_byte_s'] / _GIB:.2f}",
            "gpu_s": f"{row['gpu_s']:.1f}",
        }
        for row in rows
    ]
    columns = ("function", "containers", "seconds", "cpu_s", "cpu_kept_s", "gib_s", "gib_kept_s", "gpu_s")
    say_table(shown, columns, empty="no container has ended since")


@usage.command("report")
@click.option(
    "--by",
    default="function",
    show_default=True,
    metavar="WHAT",
    help=f"A row for each: {', '.join(_BY)}; tag:KEY for the values of one tag.",
)
@click.option(
    "--since",
    default="30d",
    show_default=True,
    metavar="AGE",
    help="From then on, in whole days (UTC); by call, of containers that ended since, and those that run.",
)
@click.option(
    "-n", "--lines", default=50, show_default=True, type=click.IntRange(1, 1000), help="At most so many rows."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with the total.")
def report(*, by: str, since: str, lines: int, as_json: bool) -> None:
    """Show what was taken, also by containers that run, and what it costs by the operator's prices. The rows add up to the total.

    A core and a GiB cost what was kept for a container, or what it used where that is more.
    """
    what, _, key = by.partition(":")
    asked = {"by": what, "key": key, "since_s": time.time() - seconds_in("--since", since), "limit": lines}
    told = any_client().request("usage.report", asked)
    if as_json:
        say_json(told)
        return
    currency = told["prices"]["currency"] if told["prices"] else ""
    rows = [_shown(row, currency) for row in told["rows"]]
    if rows:
        rows.append({**_shown(told["total"][0], currency), "name": "total"})
    name = key or what
    shown = [{**row, name: row["name"]} for row in rows]
    columns = (name, "containers", "seconds", "core_s", "gib_s", "gpu_s", *(("amount",) if currency else ()))
    say_table(shown, columns, empty="no container has run since")
    _say_prices(told)


@usage.command("summary")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def summary(*, as_json: bool) -> None:
    """Show what was taken today and this month (UTC), the prices, and where each budget stands."""
    told = any_client().request("usage.summary", {})
    if as_json:
        say_json(told)
        return
    currency = told["prices"]["currency"] if told["prices"] else ""
    rows = [{**_shown(told[name], currency), "time": name} for name in ("today", "month")]
    columns = (
        "time",
        "containers",
        "seconds",
        "core_s",
        "gib_s",
        "gpu_s",
        *(("amount",) if currency else ()),
    )
    say_table(rows, columns, empty="")
    _say_prices(told)
    if told["prices"]:
        prices = told["prices"]
        gpus = ", ".join(f"{kind} {price:g}" for kind, price in prices["gpu_second"].items())
        say(
            plain(
                f"prices a second in {currency}: core {prices['core_second']:g}, GiB {prices['gib_second']:g}"
                + (f", GPU: {gpus}" if gpus else "")
            ),
            style="bright_black",
        )
    if told["budgets"]:
        say("")
        say_budgets(told["budgets"])


def _shown(row: Mapping[str, Any], currency: str) -> dict[str, Any]:
    gpus = row["gpus"]
    name = f"{row['rows']} others" if "rows" in row else row["name"]
    return {
        "name": name,
        "containers": row["containers"],
        "seconds": f"{row['container_s']:.1f}",
        "core_s": f"{row['cpu_paid_s']:.1f}",
        "gib_s": f"{row['memory_paid_byte_s'] / _GIB:.1f}",
        "gpu_s": ", ".join(f"{seconds:.1f} {kind}" for kind, seconds in gpus.items())
        or f"{row['gpu_s']:.1f}",
        "amount": None if row["amount"] is None else f"{_money(row['amount'])} {currency}",
    }


def _money(amount: float) -> str:
    """An amount, with more digits where it is a small part of one."""
    return (
        f"{amount:,.2f}"
        if amount >= 1 or not amount
        else f"{amount:.4f}"
        if amount >= 0.01
        else f"{amount:.7f}"
    )


def _say_prices(told: Mapping[str, Any]) -> None:
    """Why there are no amounts, or what of them is left out."""
    if told["price_trouble"]:
        say(plain(f"the table of prices does not hold: {told['price_trouble']}"), style="yellow", err=True)
    elif not told["prices"]:
        say(plain(f"no prices: write a table to {told['price_file']} for amounts"), style="bright_black")
    if told["unpriced_gpus"]:
        types = ", ".join(told["unpriced_gpus"])
        say(plain(f"no price for GPUs of the type {types}: they cost nothing here"), style="yellow", err=True)
