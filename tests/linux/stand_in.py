"""A stand-in for the server or the agent: holds its lock, answers hello, and ends as it is told.

python stand_in.py ROLE --state DIR [--version V] [--protocol N] [--busy WHY] [--crash-first N] [--exit CODE]
[--idle-after S] [--stubborn]
"""

import argparse
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

# Started like the real ones, without the environment's idea of where modules are.
sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from squall.settings.exit_status import ENDED, TAKEN
from squall.settings.lock import Lock
from squall.settings.paths import StatePaths
from squall.settings.version import PROTOCOL, VERSION
from squall.wire.codec import Decoder, Frame, Kind, encode, write_head


def note(paths: StatePaths, what: str) -> None:
    with open(paths.state / "notes", "a", encoding="utf-8") as file:
        file.write(what + "\n")


def listen(paths: StatePaths) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    directory = os.open(paths.run, os.O_PATH)
    paths.server_socket.unlink(missing_ok=True)
    listener.bind(f"/proc/self/fd/{directory}/{paths.server_socket.name}")
    os.close(directory)
    listener.listen(64)
    return listener


def answer(connection: socket.socket, hello: dict[str, object]) -> None:
    decoder = Decoder()
    connection.settimeout(1.0)
    try:
        while data := connection.recv(65_536):
            for frame, _ in decoder.feed(data):
                assert frame.head()["t"] == "hello"
                reply = Frame(kind=Kind.END, stream=frame.stream, header=write_head(hello))
                for part in encode(reply):
                    connection.sendall(part)
    except OSError:
        return


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("role")
    parser.add_argument("--state", required=True)
    parser.add_argument("--version", default=VERSION)
    parser.add_argument("--protocol", type=int, default=PROTOCOL)
    parser.add_argument("--busy", default="")
    parser.add_argument("--crash-first", type=int, default=0)
    parser.add_argument("--exit", type=int)
    parser.add_argument("--idle-after", type=float)
    parser.add_argument("--stubborn", action="store_true")
    asked = parser.parse_args()
    paths = StatePaths(state=Path(asked.state))
    lock = Lock.take(paths.member_lock(asked.role))
    if lock is None:
        return TAKEN
    note(paths, f"{asked.role} start {os.getpid()}")
    starts = (paths.state / "notes").read_text().count(f"{asked.role} start")
    if starts <= asked.crash_first:
        raise SystemExit(1)
    if asked.exit is not None:
        print(f"the {asked.role} says why it cannot run", file=sys.stderr)
        return int(asked.exit)
    return serve(asked, paths, lock)


def serve(asked: argparse.Namespace, paths: StatePaths, lock: Lock) -> int:
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    came: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: came.append(got))
    signal.set_wakeup_fd(writer)
    listener = listen(paths) if asked.role == "server" else None
    note(paths, f"{asked.role} up {os.getpid()}")
    hello: dict[str, object] = {
        "version": asked.version,
        "protocol": asked.protocol,
        "pid": os.getpid(),
        "busy": bool(asked.busy),
        "why_busy": asked.busy,
    }
    until = None if asked.idle_after is None else time.monotonic() + asked.idle_after
    waits: list[int | socket.socket] = [reader] if listener is None else [reader, listener]
    while True:
        ready, _, _ = select.select(
            waits, [], [], None if until is None else max(0, until - time.monotonic())
        )
        if listener is not None and listener in ready:
            with listener.accept()[0] as connection:
                answer(connection, hello)
        if came and not asked.stubborn:
            note(paths, f"{asked.role} told {signal.Signals(came[0]).name}")
            lock.finish("down")
            return ENDED
        if came:
            os.read(reader, 64)
            came.clear()
        if until is not None and time.monotonic() >= until:
            lock.finish("idle")
            return ENDED


if __name__ == "__main__":
    sys.exit(main())
