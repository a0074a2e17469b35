"""`squall join` and `squall leave`: this machine becomes one of another machine's server, or its own again."""

import contextlib
import sys

import click

from squall.cli.screen import plain, say, say_json
from squall.cli.secret_input import read_secret
from squall.model.access import read_token
from squall.model.errors import FeatureUnavailable, MachineJoined, StateDirectoryBusy
from squall.sdk.blocking import run_blocking
from squall.sdk.local_server import end_server, ensure_agent, require_linux
from squall.settings.joined import forget_joined, read_joined
from squall.settings.options import read_options
from squall.settings.paths import StatePaths, find_state

_BESIDE_GRACE_S = 10.0


@click.command()
@click.argument("address")
@click.option("--name", default="", help="What this machine is called; its host name, where it is not given.")
@click.option("--websocket", is_flag=True, help="Speak through the web's proxies (HTTPS_PROXY).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def join(address: str, *, name: str, websocket: bool, as_json: bool) -> None:
    """Make this machine one of the server's at ADDRESS (HOST:PORT): it runs containers for it from now on.

    The token comes from `squall token new --join` on the server; it is read from SQUALL_TOKEN, or else asked for, or
    read from standard input. It lets one machine in, once.
    """
    require_linux()
    paths = find_state()
    earlier = read_joined(paths)
    if earlier is not None:
        raise MachineJoined(
            f"this machine has joined {earlier.server} already",
            remedy="take it back with `squall leave` before it joins another server",
        )
    _refuse_a_running_server(paths)
    token = read_token(read_secret("SQUALL_TOKEN", "token"))
    try:
        from squall.agent.enrolling import enroll_machine
    except ImportError:
        raise FeatureUnavailable(
            "joining needs the package cryptography, which is not installed here",
            remedy="install it with `pip install 'squall[cluster]'`",
            feature="cluster",
        ) from None
    joined = run_blocking(enroll_machine(paths, address, token, name=name, websocket=websocket))
    pid = ensure_agent(paths, read_options(paths.config))
    if as_json:
        say_json({"server": joined.server, "node": joined.node, "agent": {"pid": pid}})
        return
    say(f"this machine has joined {plain(joined.server)} as {plain(joined.node)}", style="green")
    say(
        f"its agent runs as process {pid}; `squall up` starts it after a reboot, `squall leave` takes the machine back"
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def leave(*, as_json: bool) -> None:
    """Take this machine back from the server that it joined: its containers end, its key is removed.

    What its containers had in hand runs on other machines. The server still lists it, until `squall node remove`.
    """
    require_linux()
    paths = find_state()
    earlier = read_joined(paths)
    if earlier is None:
        say_json({"left": None}) if as_json else say("this machine has joined no server")
        return
    within_s = read_options(paths.config).stop_grace_s + _BESIDE_GRACE_S
    if not end_server(paths, within_s=within_s):
        raise StateDirectoryBusy(
            f"the agent of this machine has not ended within {within_s:g} s",
            remedy="end it with `squall down --force`, then leave again",
        )
    forget_joined(paths)
    if as_json:
        say_json({"left": earlier.server})
    else:
        say(f"this machine has left {plain(earlier.server)}")


def _refuse_a_running_server(paths: StatePaths) -> None:
    from squall.sdk.greeting import listens

    with contextlib.suppress(OSError):
        if listens(paths.server_socket):
            raise MachineJoined(
                "a server of this machine's own runs here, and a machine is one server's",
                remedy="end it with `squall down`, or join from another state directory (SQUALL_STATE_DIR)",
            )
    sys.stdout.flush()
