"""The link to one launcher: what it is told, what it answers, over a SEQPACKET socket."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from squall.model.errors import ConnectionLost, ContainerStartError, Error
from squall.runtime.process_tree import standing
from squall.wire.hang_ups import hang_ups_of
from squall.wire.rights import close_all

ANSWER_S = 30.0
"""How long a launcher may take to answer: starting a container is a matter of milliseconds."""
PACKET = 64 * 1024
_MOST_FDS = 8
_ANSWERS = {
    "started": "start",
    "attached": "attach",
    "execed": "exec",
    "containers": "list",
    "mounted": "volumes",
}
_log = logging.getLogger("squall.agent")

Message = dict[str, Any]


class LauncherLink:
    """One launcher. family: what its function's versions have in common, "" where none follows another; packages_pid: the process with
    packages that stays for them, 0 for none; rested: it has such from the version before. on_exit gets each "exited" message, on_template what it says of its template, on_veth what it says of addresses, on_lost is called once
    when the launcher is gone.
    """

    def __init__(self, sock: socket.socket, name: str, pid: int) -> None:
        sock.setblocking(False)
        self.name = name
        self.pid = pid
        self.function: str | None = None
        self.image_key = ""
        self.uid_slot: int | None = None
        self.family = ""
        self.packages_pid = 0
        self.rested = False
        self.silent = False
        self.answer_s = ANSWER_S
        self.on_exit: Callable[[Message], None] = lambda _message: None
        self.on_template: Callable[[Message], None] = lambda _message: None
        self.on_veth: Callable[[Message], None] = lambda _message: None
        self.on_lost: Callable[[], None] = lambda: None
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._answers: dict[tuple[str, str], asyncio.Future[tuple[Message, tuple[int, ...]]]] = {}
        self._execs: dict[str, Callable[[Message], None]] = {}
        self._unsent: list[tuple[bytes, tuple[int, ...]]] = []
        self._closed = False
        self._listed: list[Message] = []
        self._loop.add_reader(sock.fileno(), self._on_readable)
        self._hang_ups = hang_ups_of(self._loop)
        if self._hang_ups is not None:
            self._hang_ups.add(sock.fileno(), self._on_readable)

    async def start(
        self, container: str, spec: Message, *, path: str = ""
    ) -> tuple[Message, tuple[int, ...]]:
        """Starts a container: what the launcher says of it, and the descriptors channel, log, out, err.

        path: the only rung that will do; "" for the best there is. Raises the launcher's refusal, ConnectionLost when it dies meanwhile
        or does not answer: should it wake up, it ends that container again.
        """
        return await self._ask("start", container, {"spec": spec, **({"path": path} if path else {})})

    async def attach(self, container: str) -> tuple[Message, tuple[int, ...]]:
        """Takes over a container that an earlier agent left; answers like `start`."""
        return await self._ask("attach", container, {})

    async def mount(self, container: str, volumes: list[Message], *, again: bool) -> None:
        """Has volumes shown in a container, in the place of those that it has if `again`. Raises the launcher's refusal."""
        await self._ask("volumes", container, {"volumes": volumes, "again": again})

    async def listed(self) -> Message:
        """What the launcher has: containers, and the addresses of sandboxes that are no container's yet."""
        message, _fds = await self._ask("list", "", {})
        return message

    async def run(
        self, container: str, name: str, how: Message, on_end: Callable[[Message], None]
    ) -> tuple[Message, tuple[int, ...]]:
        """Runs a command in a container; `how` has argv, env, cwd, tty, rows, cols. on_end gets "exec_exited"."""
        self._execs[name] = on_end
        return await self._ask("exec", container, {"exec": name, **how})

    def tell(self, kind: str, fds: tuple[int, ...] = (), **message: Any) -> None:
        """Sends a message that has no answer; the descriptors stay the caller's."""
        if not self._closed:
            self._send({"t": kind, **message}, fds)

    def close(self) -> None:
        """Lets go of the launcher, which lives on."""
        self._lose(quiet=True)

    async def _ask(self, kind: str, container: str, message: Message) -> tuple[Message, tuple[int, ...]]:
        if self._closed:
            raise ConnectionLost(f"the launcher {self.name} is gone")
        key = (kind, container + message.get("exec", ""))
        answer: asyncio.Future[tuple[Message, tuple[int, ...]]] = self._loop.create_future()
        self._answers[key] = answer
        self._send({"t": kind, "container": container, **message})
        try:
            async with asyncio.timeout(self.answer_s):
                return await answer
        except TimeoutError:
            self.silent = True
            if kind == "start":
                self.tell("kill", container=container)
            where = standing(self.pid)
            _log.warning(
                "the launcher %s has not answered %r for %g s: %s", self.name, kind, self.answer_s, where
            )
            raise ConnectionLost(
                f"the launcher of {self.function or 'no function'} has not answered for {self.answer_s:g} s"
            ) from None
        finally:
            self._answers.pop(key, None)

    def _send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        data = json.dumps(message).encode()
        if len(data) > PACKET:
            raise ContainerStartError(
                f"what a launcher is told fits into {PACKET} bytes; this has {len(data)}"
            )
        if self._unsent or not self._try(data, fds):
            if not self._unsent:
                self._loop.add_writer(self._sock.fileno(), self._on_writable)
            self._unsent.append((data, tuple(map(os.dup, fds))))

    def _try(self, data: bytes, fds: tuple[int, ...]) -> bool:
        try:
            socket.send_fds(self._sock, [data], fds)
        except BlockingIOError:
            return False
        except OSError:
            # The reader finds the end of the connection, and says so once.
            return True
        return True

    def _on_writable(self) -> None:
        while self._unsent and self._try(*self._unsent[0]):
            close_all(self._unsent.pop(0)[1])
        if not self._unsent:
            self._loop.remove_writer(self._sock.fileno())

    def _on_readable(self) -> None:
        while not self._closed:
            try:
                data, fds, flags, _address = socket.recv_fds(self._sock, PACKET, _MOST_FDS)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            for fd in fds:
                os.set_inheritable(fd, False)
            if not data:
                self._lose()
                return
            if flags & socket.MSG_CTRUNC:
                # The kernel passes on no more than this process may have open.
                close_all(fds)
                self._let_go(json.loads(data))
            else:
                self._take(json.loads(data), tuple(fds))

    def _let_go(self, message: Message) -> None:
        """What came without its descriptors is of no use: a container that nobody can talk to goes."""
        kind, container = message["t"], message.get("container", "")
        _log.warning("too many files are open here: %r of %s came without its descriptors", kind, container)
        if kind in ("started", "attached"):
            self.tell("kill", container=container)
        answer = self._asked(kind, message)
        if answer is not None:
            answer.set_exception(ConnectionLost(f"the agent has too many files open for {container}"))

    def _asked(self, kind: str, message: Message) -> asyncio.Future[tuple[Message, tuple[int, ...]]] | None:
        """Who waits for this answer."""
        asked = _ANSWERS.get(kind)
        name = message.get("container", "") + message.get("exec", "")
        answer = self._answers.get((asked, name)) if asked is not None else None
        return answer if answer is not None and not answer.done() else None

    def _take(self, message: Message, fds: tuple[int, ...]) -> None:
        kind, container = message["t"], message.get("container", "")
        if kind == "containers":
            # More than one packet holds come in several, the last without "more".
            self._listed += message["containers"]
            if message.get("more"):
                return
            message, self._listed = {**message, "containers": self._listed}, []
        waits = self._asked(kind, message)
        if waits is not None:
            waits.set_result((message, fds))
            return
        if kind == "refused":
            for name in ("volumes",) if message.get("asked") == "volumes" else ("start", "attach", "exec"):
                answer = self._answers.get((name, container + message.get("exec", "")))
                if answer is not None and not answer.done():
                    answer.set_exception(
                        Error.from_wire(
                            {k: v for k, v in message.items() if k not in ("t", "container", "exec", "asked")}
                        )
                    )
                    break
        elif kind == "exited":
            self.on_exit(message)
        elif kind in ("template", "printed"):
            self.on_template(message)
        elif kind in ("veth_wanted", "veth_free"):
            self.on_veth(message)
        elif kind == "exec_exited":
            on_end = self._execs.pop(message["exec"], None)
            if on_end is not None:
                on_end(message)
        elif kind not in _ANSWERS:
            _log.warning("the launcher %s said %r, which nobody asked", self.name, kind)
        close_all(fds)

    def _lose(self, *, quiet: bool = False) -> None:
        if self._closed:
            return
        self._closed = True
        if self._hang_ups is not None:
            self._hang_ups.remove(self._sock.fileno())
        self._loop.remove_reader(self._sock.fileno())
        if self._unsent:
            self._loop.remove_writer(self._sock.fileno())
        for _, fds in self._unsent:
            close_all(fds)
        self._unsent.clear()
        self._sock.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionLost(f"the launcher {self.name} ended"))
        if not quiet:
            self.on_lost()
