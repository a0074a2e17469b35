"""`squall shell`: a shell in a running container."""

import click

from squall.cli.asking import running_client
from squall.model.errors import NotFoundError, UsageError


@click.command()
@click.argument("name", metavar="[CONTAINER|FUNCTION]", required=False)
@click.option("--command", default="", help="Run this in the shell instead of reading from the terminal.")
def shell(*, name: str | None, command: str) -> int:
    """Open a shell in a running container: the one named, one of the function named, or the only one."""
    client = running_client()
    chosen = _choose(client.request("container.list")["containers"], name)
    from squall.cli.attach import (
        run_in_container,
    )  # a terminal is handled in a way that Windows does not have

    # Where the image has no bash, sh does.
    argv = (
        ("/bin/sh", "-c", command) if command else ("/bin/sh", "-c", "exec bash -l 2>/dev/null || exec sh -l")
    )
    return run_in_container(client, chosen, argv, tty=None)


def _choose(containers: list[dict[str, object]], name: str | None) -> str:
    fitting = [
        str(row["id"])
        for row in containers
        if name is None
        or name in {row["id"], row.get("function"), str(row.get("function")).rpartition("/")[2]}
    ]
    if not fitting:
        what = (
            "no container runs"
            if name is None
            else f"no container {name!r} runs, and none of such a function"
        )
        raise NotFoundError(what, remedy="`squall container list` shows those that run")
    if name is None and len(fitting) > 1:
        raise UsageError(f"{len(fitting)} containers run", remedy="name one: " + ", ".join(fitting[:5]))
    return fitting[0]
