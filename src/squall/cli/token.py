"""`squall token`: who may come in from other machines."""

from typing import Any

import click

from squall.cli.amounts import seconds_in
from squall.cli.asking import any_client
from squall.cli.screen import age, plain, say, say_json, say_table
from squall.model.access import Scope
from squall.model.errors import UsageError

_DAY_S = 86_400.0


@click.group()
def token() -> None:
    """Make, list and revoke the tokens by which clients and machines come in."""


@token.command("new")
@click.option("--name", default="", help="Whose it is, or what for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([str(scope) for scope in Scope]),
    help="What it allows; run, where none is given. May be given several times.",
)
@click.option("--join", "joins", is_flag=True, help="One that lets one machine in, once (`squall join`).")
@click.option(
    "--expires", default="", help="After how long it ends: 30d, 12h. Join tokens end after 1h by default."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def new(*, name: str, scopes: tuple[str, ...], joins: bool, expires: str, as_json: bool) -> None:
    """Make a token and print it: this is the only time that anybody sees it.

    read looks at apps, containers and logs; call calls functions that are there; run also brings code and builds images;
    admin also makes tokens and removes machines.
    """
    if joins and scopes:
        raise UsageError(
            "a token that lets a machine in has no scopes", remedy="leave out --scope, or --join"
        )
    head: dict[str, Any] = {
        "kind": "join" if joins else "access",
        "name": name,
        "scopes": [] if joins else list(scopes or (Scope.RUN,)),
        "lasts_s": seconds_in("--expires", expires) if expires else (3600.0 if joins else None),
    }
    made = any_client().request("token.new", head)
    if as_json:
        say_json(made)
        return
    say(plain(made["token"]))
    where = made["listens"] or "HOST:PORT"
    use = f"squall join {where}" if joins else f"squall profile add NAME --server {where}"
    say(f"it is shown this once; with it: SQUALL_TOKEN=... {use}", style="bright_black", err=True)
    if not made["listens"]:
        say("the server listens to nobody yet: `squall up --listen HOST:PORT`", style="yellow", err=True)


@token.command("list")
@click.option("--all", "every", is_flag=True, help="Also those that have ended.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(*, every: bool, as_json: bool) -> None:
    """List tokens, without their secrets."""
    import time

    now_s = time.time()
    rows = any_client().request("token.list")["tokens"]
    shown = [row | {"state": _state(row, now_s)} for row in rows]
    shown = [row for row in shown if every or row["state"] == "good"]
    if as_json:
        say_json({"tokens": shown})
        return
    say_table(
        [
            {
                "token": plain(row["id"]),
                "name": plain(row["name"]),
                "allows": "one machine" if row["kind"] == "join" else plain(",".join(row["scopes"])),
                "state": row["state"],
                "made": f"{age(now_s - row['created_s'])} ago",
                "ends": "never" if row["expires_s"] is None else age(max(0.0, row["expires_s"] - now_s)),
            }
            for row in shown
        ],
        ("token", "name", "allows", "state", "made", "ends"),
        empty="no tokens; `squall token new` makes one",
    )


@token.command("revoke")
@click.argument("tokens", nargs=-1, required=True, metavar="TOKEN...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def revoke(tokens: tuple[str, ...], *, as_json: bool) -> None:
    """Take tokens back by their ids (to-…): who came in by them is put out within seconds."""
    client = any_client()
    done = {}
    for named in tokens:
        id_ = named.partition(".")[0]
        done[id_] = client.request("token.revoke", {"token": id_})["revoked"]
    if as_json:
        say_json({"revoked": done})
        return
    for id_, fresh in done.items():
        say(f"revoked {plain(id_)}" if fresh else f"{plain(id_)} was revoked before")


def _state(row: dict[str, Any], now_s: float) -> str:
    if row["revoked_s"] is not None:
        return "revoked"
    if row["expires_s"] is not None and row["expires_s"] <= now_s:
        return "expired"
    return "used" if row["used_s"] is not None else "good"
