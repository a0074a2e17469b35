"""`squall up`: start this machine's server, if it does not run."""

import time

import click

from squall.cli.asking import require_own_server
from squall.cli.screen import say, say_json
from squall.sdk.local_server import ensure_server, require_linux
from squall.settings.options import read_options
from squall.settings.paths import StatePaths, find_state
from squall.settings.record import Record, read_record
from squall.settings.version import VERSION


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def up(*, as_json: bool) -> None:
    """Start this machine's server, if it does not run, and say where it is.

    `squall run` does this by itself. The server ends again after an idle time (the option idle_s).
    """
    require_linux()
    require_own_server("squall up")
    paths = find_state()
    options = read_options(paths.config)
    began_s = time.monotonic()
    ensure_server(
        paths, options, None if as_json else lambda words: say(words, style="bright_black", err=True)
    )
    record = read_record(paths.supervisor_record)
    if as_json:
        say_json(_facts(paths, record))
        return
    pids = {} if record is None else {"supervisor": record.supervisor.pid} | _members(record)
    who = ", ".join(f"{name} {pid}" for name, pid in pids.items())
    say(f"squall {VERSION} is up after {time.monotonic() - began_s:.2f} s: {who}", style="green")
    say(f"state: {paths.state}")
    say(f"socket: {paths.server_socket}")
    idle = f"after {options.idle_s:g} s without work" if options.idle_s else "never by itself"
    say(f"it ends {idle}, or with `squall down`")


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
