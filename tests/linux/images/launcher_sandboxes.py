"""Launcher sandboxes: runs build commands in the sandboxes of a real launcher, as an agent would."""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from squall.images.command import Exit
from squall.runtime import packet
from squall.runtime.spawn import spawn_launcher
from squall.runtime.spec import Level, SandboxSpec
from tests.bare_steps import BareSteps

_UID_BASE = 0x7000_0000


class LauncherSandboxes(BareSteps):
    """One sandbox at a time, over one connection to a launcher."""

    level: Level = "sandbox"

    def __init__(self, line: socket.socket) -> None:
        self.specs: list[SandboxSpec] = []
        self._line = line
        self._turn = asyncio.Lock()

    @property
    def uid_base(self) -> int | None:
        return _UID_BASE if os.geteuid() == 0 else None

    async def run(self, spec: SandboxSpec, on_output: Callable[[bytes], None]) -> Exit:
        async with self._turn:
            self.specs.append(spec)
            return await asyncio.to_thread(self._run, spec, on_output)

    def _run(self, spec: SandboxSpec, on_output: Callable[[bytes], None]) -> Exit:
        packet.send(self._line, {"t": "start", "container": spec.id, "spec": spec.to_json()})
        started = self._wait_for("started", spec.id)
        channel, log, *pipes = started.fds
        os.close(channel)
        os.close(log)
        _drain(pipes, on_output)
        ended = self._wait_for("exited", spec.id).message
        packet.send(self._line, {"t": "forget", "container": spec.id})
        return Exit(code=ended.get("code"), signal=ended.get("signal"), cause=str(ended.get("cause")))

    def _wait_for(self, kind: str, container: str) -> packet.Packet:
        while True:
            got = packet.receive(self._line)
            assert got is not None, "the launcher is gone"
            assert got.message["t"] != "refused", got.message
            if got.message["t"] == kind and got.message["container"] == container:
                return got


@contextmanager
def launcher_sandboxes(state: Path) -> Iterator[LauncherSandboxes]:
    """Sandboxes of a launcher that lives as long as the block."""
    path, log = str(state / "l.sock"), str(state / "launcher.log")
    root = Path(__file__).parents[3]
    pid = spawn_launcher(socket=path, state=str(state), log=log, env={"PYTHONPATH": str(root / "src")})
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        _connect(line, path, log)
        line.settimeout(60)
        yield LauncherSandboxes(line)
    finally:
        line.close()
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def _connect(line: socket.socket, path: str, log: str) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            line.connect(path)
            return
        except OSError:
            assert time.monotonic() < end, Path(log).read_text(encoding="utf-8")
            time.sleep(0.02)


def _drain(pipes: list[int], on_output: Callable[[bytes], None]) -> None:
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, 65536)
                if data:
                    on_output(data)
                else:
                    selector.unregister(key.fd)
                    os.close(key.fd)
