"""The census: every process of one state directory, as the record, the locks and the server tell it."""

from typing import Any

from squall.cli.asking import greet_server, running_client
from squall.model.errors import Error
from squall.settings.client import named_server
from squall.settings.paths import StatePaths
from squall.settings.process import ProcessMark, is_alive
from squall.settings.record import read_record

_ANSWER_WITHIN_S = 5.0


def census(paths: StatePaths) -> dict[str, Any]:
    """What runs: running, state, socket (or named, of a server that is not this machine's own), version, busy, why_busy; supervisor, server, agent (each with its pid, or
    None); launchers, containers, apps (lists). `unanswered` says why the server told less than that.
    """
    found: dict[str, Any] = {
        "running": False,
        "state": str(paths.state),
        "socket": str(paths.server_socket),
        "named": None,
        "version": None,
        "busy": False,
        "why_busy": "",
        "supervisor": None,
        "server": None,
        "agent": None,
        "launchers": [],
        "containers": [],
        "apps": [],
    }
    named = named_server()
    if named is not None:
        # Of another state directory, perhaps on another machine: what lies here says nothing of it.
        found |= {"state": None, "socket": None, "named": str(named)}
    else:
        for name, mark in live_marks(paths).items():
            found[name] = {"pid": mark.pid}
    try:
        greeting = greet_server(within_s=_ANSWER_WITHIN_S)
        if greeting is None:
            return found
        found |= {
            "running": True,
            "version": greeting.version,
            "busy": greeting.busy,
            "why_busy": greeting.why_busy,
        }
        found["server"] = {"pid": greeting.pid}
        if greeting.understood:
            said = running_client().request("status")
            found |= {key: value for key, value in said.items() if value is not None}
    except Error as problem:
        found["unanswered"] = str(problem)
    return found


def live_marks(paths: StatePaths) -> dict[str, ProcessMark]:
    """The live supervisor, server and agent by name."""
    record = read_record(paths.supervisor_record)
    if record is None:
        return {}
    marks = {"supervisor": record.supervisor, **record.members}
    return {name: mark for name, mark in marks.items() if is_alive(mark)}
