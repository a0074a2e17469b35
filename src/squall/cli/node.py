"""`squall node`: the machines of a server."""

import click

from squall.cli.asking import any_client
from squall.cli.screen import plain, say, say_json, say_table


@click.group()
def node() -> None:
    """List the machines that run containers, and remove some."""


@node.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(*, as_json: bool) -> None:
    """List the machines: the server's own, and those that joined."""
    rows = any_client().request("node.list")["nodes"]
    if as_json:
        say_json({"nodes": rows})
        return
    say_table(
        [
            {
                "node": plain(row["id"]),
                "name": plain(row["name"] or ("this machine" if row["joined_s"] is None else "")),
                "state": plain(row["state"]),
                "containers": row.get("containers", ""),
                "has": plain(row.get("capacity", "")),
            }
            for row in rows
        ],
        ("node", "name", "state", "containers", "has"),
        empty="no machines",
    )


@node.command("remove")
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def remove(nodes: tuple[str, ...], *, as_json: bool) -> None:
    """Put machines out that joined: they may not come back, and what they had in hand runs elsewhere."""
    client = any_client()
    done = {name: client.request("node.remove", {"node": name})["removed"] for name in nodes}
    if as_json:
        say_json({"removed": done})
        return
    for name, fresh in done.items():
        say(f"removed {plain(name)}" if fresh else f"{plain(name)} was removed before")
