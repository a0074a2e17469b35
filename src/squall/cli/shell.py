"""`squall shell`: a shell in a running container, or in an image."""

import click

from squall.cli.asking import any_client, running_client
from squall.model.errors import NotFoundError, UsageError


@click.command()
@click.argument("name", metavar="[CONTAINER|FUNCTION]", required=False)
@click.option("--command", default="", help="Run this in the shell instead of reading from the terminal.")
@click.option("--image-step", "key", default="", metavar="KEY",
              help="In an image, as a step of its build would run; nothing that is done there is kept.")  # fmt: skip
def shell(*, name: str | None, command: str, key: str) -> int:
    """Open a shell in a running container: the one named, one of the function named, or the only one.

    With --image-step, open it in an image instead: the one whose KEY `squall image list` shows, or that of a step which failed, as the
    error of its build says.
    """
    # Where the image has no bash, sh does. Not by trying: with its errors sent away, bash would take itself for a script's.
    # Only in a container as from a login: that would change the variables that a step of a build has.
    login = "" if key else " -l"
    line = command or f"command -v bash >/dev/null 2>&1 && exec bash{login}; exec sh{login}"
    argv = ("/bin/sh", "-c", line)
    if key:
        if name is not None:
            raise UsageError(
                "--image-step opens a shell in an image, and not in a container",
                remedy=f"leave out {name}, or --image-step",
            )
        client = any_client()
    else:
        client = running_client()
    from squall.cli.attach import (
        run_in_container,
        run_over_image,
    )  # a terminal is handled in a way that Windows does not have

    if key:
        return run_over_image(client, key, argv, tty=None)
    chosen = _choose(client.request("container.list")["containers"], name)
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
