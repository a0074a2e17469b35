"""The supervisor's entry: take the lock, or say who holds it; then watch."""

import json
import os
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from squall.model.errors import UsageError
from squall.settings.joined import read_joined
from squall.settings.lock import Lock
from squall.settings.options import read_options
from squall.settings.paths import StatePaths, open_state
from squall.settings.process_log import ProcessLog
from squall.settings.record import read_record
from squall.settings.start import command
from squall.supervisor.plan import Absent, Aim, House, Member, Waiting
from squall.supervisor.watch import Charge, Watch

# Beyond the containers' own grace, for the agent to note how they ended.
_GRACE_BESIDE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """state: the directory. down: take over what runs only to end it. commands: of the processes, by name.

    detach: be nobody's child, so that no program that waits for its children ever waits for us.
    """

    state: str
    down: bool
    detach: bool
    commands: Mapping[str, Sequence[str]]


def main(argv: Sequence[str]) -> int:
    """The exit status: 0 when another supervisor holds the lock, or when everything ended in good order.

    Raises StateDirectoryError, InvalidError (an option, an argument).
    """
    return _supervise(_arguments(argv))


def _supervise(arguments: Arguments) -> int:
    _settle()
    ready = _detach() if arguments.detach else _no_one
    paths = open_state(arguments.state)
    lock = _take_lock(paths)
    if lock is None:
        return 0
    options = read_options(paths.config)
    charge = Charge(
        paths=paths,
        commands=arguments.commands
        or {
            "server": command("squall.server", "--state", str(paths.state)),
            "agent": command("squall.agent", "--state", str(paths.state)),
        },
        executable=sys.executable,
    )
    joined = read_joined(paths)
    house = House(
        server=Member(state=Waiting() if joined is None else Absent()),
        agent=Member(state=Waiting() if joined is not None or options.agent_here else Absent()),
        aim=Aim.DOWN if arguments.down else Aim.KEEP,
        grace_s=options.stop_grace_s + _GRACE_BESIDE_S,
    )
    log = ProcessLog(paths.log("supervisor"), limit_bytes=options.process_log_bytes)
    log.write("supervising", pid=os.getpid(), state=str(paths.state), aim=house.aim.value)
    return Watch(charge, log, house).run(ready)


def _settle() -> None:
    """Leave what was inherited: session, directory, open files, the mask of new files."""
    if os.getsid(0) != os.getpid() and os.getpgrp() != os.getpid():
        os.setsid()
    os.chdir("/")
    os.umask(0o077)
    # A dump of the server would hold values of secrets. One byte, not none: at none, a host that pipes dumps to a program does so.
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (1 if most else 0, most))
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _detach() -> Callable[[], None]:
    """Go on in a child; the process that was started ends with 0 when the returned function is called here.

    If this child ends before, that process ends with the same exit status.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        if os.read(reader, 1):
            os._exit(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    os.close(reader)

    def ready() -> None:
        os.write(writer, b"1")
        os.close(writer)

    return ready


def _no_one() -> None:
    """Nobody waits to hear that the supervisor is at work."""


def _take_lock(paths: StatePaths) -> Lock | None:
    """The lock; None, told on standard output, where a supervisor is at work. One that is ending is waited for."""
    lock = Lock.take(paths.supervisor_lock)
    if lock is not None:
        return lock
    record = read_record(paths.supervisor_record)
    if record is not None and record.ending:
        return Lock.take(paths.supervisor_lock, wait=True)
    who = "another process" if record is None else f"process {record.supervisor.pid}"
    print(f"{who} supervises {paths.state} already", flush=True)
    return None


def _arguments(argv: Sequence[str]) -> Arguments:
    """The command line, read by hand: argparse would take a fifth of the start."""
    given: dict[str, str] = {}
    rest = list(argv)
    while rest:
        name = rest.pop(0)
        if name in {"--down", "--detach"}:
            given[name] = "yes"
        elif name in {"--state", "--commands"} and rest:
            given[name] = rest.pop(0)
        else:
            raise UsageError(f"the supervisor does not know {name!r}", remedy="give it --state DIRECTORY")
    if "--state" not in given:
        raise UsageError(
            "the supervisor needs to know its state directory", remedy="give it --state DIRECTORY"
        )
    commands: dict[str, list[str]] = json.loads(given.get("--commands", "{}"))
    return Arguments(
        state=given["--state"], down="--down" in given, detach="--detach" in given, commands=commands
    )
