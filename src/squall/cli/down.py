"""`squall down`: stop this machine's server and everything it runs."""

import contextlib
import os
import signal
from typing import Any

import click

from squall.cli.asking import require_own_server
from squall.cli.census import census, live_marks
from squall.cli.screen import plain, say, say_json
from squall.model.errors import ConflictError, StateDirectoryBusy
from squall.sdk.local_server import end_server, require_linux
from squall.settings.options import read_options
from squall.settings.paths import StatePaths, find_state
from squall.settings.process import ProcessMark, open_process

# For a supervisor that has to be started first, and for what comes beside the containers' own grace.
_BESIDE_GRACE_S = 10.0


@click.command()
@click.option("--force", is_flag=True, help="Kill server and agent at once, without their grace.")
@click.option("--if-idle", is_flag=True, help="Refuse while there is work.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def down(*, force: bool, if_idle: bool, as_json: bool) -> None:
    """Stop this machine's server and everything it runs: containers, launchers, agent, server, supervisor.

    Work that runs is ended. It says what it stopped; where nothing runs it says so, and that is no error.
    """
    require_linux()
    require_own_server("squall down")
    paths = find_state()
    found = census(paths)
    marks = live_marks(paths)
    if not marks and not found["running"] and not any(paths.launchers.iterdir()):
        _tell_nothing(as_json=as_json)
        return
    if if_idle and found["busy"]:
        raise ConflictError(
            f"the server is busy: {found['why_busy']}", remedy="wait until it is done, or leave out --if-idle"
        )
    if force:
        _kill([mark for name, mark in marks.items() if name != "supervisor"])
    within_s = read_options(paths.config).stop_grace_s + _BESIDE_GRACE_S
    if not end_server(paths, within_s=within_s):
        raise StateDirectoryBusy(
            f"not everything has ended within {within_s:g} s: {_left(paths)}",
            remedy="use `squall down --force`",
        )
    _tell(found, as_json=as_json)


def _kill(marks: list[ProcessMark]) -> None:
    for mark in marks:
        pidfd = open_process(mark)
        if pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)


def _left(paths: StatePaths) -> str:
    return ", ".join(f"{name} {mark.pid}" for name, mark in live_marks(paths).items()) or "a launcher"


def _tell_nothing(*, as_json: bool) -> None:
    if as_json:
        say_json({"stopped": {}})
    else:
        say("nothing runs")


def _tell(found: dict[str, Any], *, as_json: bool) -> None:
    stopped = {
        "apps": [app.get("name") for app in found["apps"]],
        "containers": [container.get("id") for container in found["containers"]],
        "launchers": [launcher.get("pid") for launcher in found["launchers"]],
        **{name: found[name]["pid"] for name in ("agent", "server", "supervisor") if found[name]},
    }
    if not any(stopped.values()):
        # What a launcher left that has just ended is all that there was.
        _tell_nothing(as_json=as_json)
        return
    if as_json:
        say_json({"stopped": stopped})
        return
    for name, what in stopped.items():
        if isinstance(what, list):
            if what:
                say(
                    f"stopped {len(what)} {name if len(what) > 1 else name[:-1]}: {', '.join(map(plain, what))}"
                )
        else:
            say(f"stopped the {name}, process {what}")
