"""`squall usage`: what the containers of each function took of the machines."""

import time

import click

from squall.cli.amounts import seconds_in
from squall.cli.asking import any_client
from squall.cli.screen import say_json, say_table

_GIB = 2**30


@click.command()
@click.option(
    "--since",
    default="1d",
    show_default=True,
    metavar="AGE",
    help="Of containers that ended since: 30s, 10m, 2h, 1d.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def usage(*, since: str, as_json: bool) -> None:
    """Show what the containers of each function took that have ended: core-seconds, GiB-seconds and GPU-seconds."""
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
