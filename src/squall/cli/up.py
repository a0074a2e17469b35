"""`squall up`: start this machine's server, if it does not run."""

import time
from dataclasses import asdict
from typing import Any

import click

from squall.cli.asking import require_own_server
from squall.cli.screen import plain as shown, say, say_json
from squall.sdk.client import Client
from squall.sdk.local_server import ensure_agent, ensure_server, require_linux
from squall.settings.client import refuse_joined
from squall.settings.joined import read_joined
from squall.settings.listen import ListenAddress, read_address
from squall.settings.options import Options, read_options
from squall.settings.paths import StatePaths, find_state
from squall.settings.record import Record, read_record
from squall.settings.version import VERSION


@click.command()
@click.option(
    "--listen", default="", metavar="HOST:PORT", help="Let other machines in there, over TLS; `none` to stop."
)
@click.option(
    "--as",
    "names",
    multiple=True,
    metavar="NAME",
    help="A name or address by which others reach it; several.",
)
@click.option(
    "--plain", is_flag=True, help="Without TLS, on loopback: for a proxy on this machine that speaks it."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def up(*, listen: str, names: tuple[str, ...], plain: bool, as_json: bool) -> None:
    """Start this machine's server, if it does not run, and say where it is.

    `squall run` does this by itself. The server ends again after an idle time (the option idle_s), but one that lets
    other machines in, which it goes on to do after each start. Who comes in needs a token: `squall token new`.
    """
    require_linux()
    require_own_server("squall up")
    paths = find_state()
    options = read_options(paths.config)
    began_s = time.monotonic()
    if read_joined(paths) is not None:
        _start_agent(paths, options, listen=listen, as_json=as_json)
        return
    address = read_address(listen, names=names, plain=plain) if listen not in {"", "none"} else None
    ensure_server(
        paths, options, None if as_json else lambda words: say(words, style="bright_black", err=True)
    )
    asked = {} if not listen else {"address": None if address is None else asdict(address)}
    listens = Client.here().request("listen.set" if listen else "listen.get", asked)
    record = read_record(paths.supervisor_record)
    if as_json:
        say_json(_facts(paths, record) | {"listen": listens})
        return
    pids = {} if record is None else {"supervisor": record.supervisor.pid} | _members(record)
    who = ", ".join(f"{name} {pid}" for name, pid in pids.items())
    say(f"squall {VERSION} is up after {time.monotonic() - began_s:.2f} s: {who}", style="green")
    say(f"state: {paths.state}")
    say(f"socket: {paths.server_socket}")
    _tell_listening(listens)
    if listens["address"] is not None:
        say("it ends with `squall down`")
        return
    idle = f"after {options.idle_s:g} s without work" if options.idle_s else "never by itself"
    say(f"it ends {idle}, or with `squall down`")


def _start_agent(paths: StatePaths, options: Options, *, listen: str, as_json: bool) -> None:
    if listen:
        refuse_joined(paths)
    joined = read_joined(paths)
    assert joined is not None
    pid = ensure_agent(paths, options)
    if as_json:
        say_json({"server": joined.server, "node": joined.node, "agent": {"pid": pid}})
    else:
        say(f"this machine runs containers for {shown(joined.server)}: agent {pid}", style="green")


def _tell_listening(listens: dict[str, Any]) -> None:
    if listens["trouble"]:
        say(f"other machines cannot come in: {shown(listens['trouble'])}", style="yellow")
    if listens["address"] is not None:
        at = ListenAddress(**listens["address"])
        if at.plain:
            say(f"a proxy on this machine comes in at {at}, without TLS", style="green")
            return
        say(f"other machines come in at {at}; authority {listens['fingerprint'][:16]}…", style="green")


def _facts(paths: StatePaths, record: Record | None) -> dict[str, object]:
    pids = {} if record is None else _members(record)
    return {
        "running": True,
        "version": VERSION,
        "state": str(paths.state),
        "socket": str(paths.server_socket),
        "supervisor": None if record is None else {"pid": record.supervisor.pid},
        "server": {"pid": pids["server"]} if "server" in pids else None,
        "agent": {"pid": pids["agent"]} if "agent" in pids else None,
    }


def _members(record: Record) -> dict[str, int]:
    return {name: mark.pid for name, mark in record.members.items()}
