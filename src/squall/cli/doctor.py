"""`squall doctor`: this machine, and what each feature gets here."""

import dataclasses
import os
from typing import Any

import click

from squall.cli.screen import plain, say, say_json, say_wrapped
from squall.sdk.greeting import greet
from squall.sdk.local_server import require_linux
from squall.settings.options import read_options
from squall.settings.paths import find_state
from squall.settings.version import VERSION


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(*, as_json: bool) -> None:
    """Look at this machine: what each feature gets here, why, and what would give it more."""
    require_linux()
    from squall.runtime.gpu_look import RECORDING_VARIABLE, look_at_gpus
    from squall.runtime.gpu_rung import gpu_rung
    from squall.runtime.probe import probe  # Linux only
    from squall.runtime.rungs import row_of, rungs
    from squall.runtime.runtimes.look import PROGRAMS, look
    from squall.runtime.runtimes.rows import row_of_runtime

    paths = find_state()
    host = probe(str(paths.scratch))
    found = (
        *rungs(host),
        *(row_of_runtime(look(level, str(paths.state), host)) for level in PROGRAMS),
        gpu_rung(look_at_gpus(os.environ.get(RECORDING_VARIABLE, ""))),
    )
    record = read_options(paths.config).database or str(paths.database)
    greeting = greet(paths.server_socket, timeout_s=5.0)
    if as_json:
        facts: dict[str, Any] = {
            "version": VERSION,
            "state": str(paths.state),
            "record": record,
            "server": None if greeting is None else {"pid": greeting.pid, "version": greeting.version},
            "row": row_of(host),
            "rungs": [dataclasses.asdict(rung) | {"good": rung.good} for rung in found],
        }
        say_json(facts)
        return
    say(f"squall {VERSION} on Linux {host.kernel[0]}.{host.kernel[1]} ({host.machine}): {row_of(host)}")
    say(f"state: {paths.state}")
    say(f"record: {plain(record)}")
    say("server: none runs" if greeting is None else f"server: process {greeting.pid}")
    width = max(len(rung.feature) for rung in found)
    for rung in found:
        mark = "+" if rung.good else "-"
        line = f"{mark} {rung.feature.ljust(width)}  {plain(rung.rung)} ({plain(rung.why)})"
        say_wrapped(line, style="green" if rung.good else "yellow", hang=width + 4)
        if not rung.good:
            say_wrapped(f"  {' ' * width}  for more: {plain(rung.more)}", hang=width + 4)
