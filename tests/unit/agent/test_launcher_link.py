"""The link to a launcher, against one that says what the test wants, over a real SEQPACKET socket."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
from typing import Any

import pytest

from squall.agent.launcher_link import PACKET, LauncherLink
from squall.model.errors import ConnectionLost, ContainerStartError, Error

Message = dict[str, Any]


class Launcher:
    """The launcher's end of the socket."""

    def __init__(self) -> None:
        ours, self.sock = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.setblocking(False)
        self.link = LauncherLink(ours, "the one", os.getpid())

    async def hears(self) -> Message:
        data = await asyncio.get_running_loop().sock_recv(self.sock, PACKET)
        found: Message = json.loads(data)
        return found

    def says(self, message: Message, *fds: int) -> None:
        socket.send_fds(self.sock, [json.dumps(message).encode()], fds)

    def close(self) -> None:
        self.link.close()
        self.sock.close()


def test_answers_go_to_who_asked_with_their_descriptors() -> None:
    async def scene() -> None:
        launcher = Launcher()
        first = asyncio.create_task(launcher.link.start("co-1", {"a": 1}))
        second = asyncio.create_task(launcher.link.start("co-2", {}))
        assert await launcher.hears() == {"t": "start", "container": "co-1", "spec": {"a": 1}}
        await launcher.hears()
        read, write = os.pipe()
        launcher.says({"t": "started", "container": "co-2", "pid": 2}, read, write)
        launcher.says({"t": "started", "container": "co-1", "pid": 1})
        message, fds = await second
        assert message["pid"] == 2
        os.write(fds[1], b"x")
        assert os.read(read, 1) == b"x"
        assert not os.get_inheritable(fds[0])
        assert (await first)[0]["pid"] == 1
        for fd in (read, write, *fds):
            os.close(fd)
        launcher.close()

    asyncio.run(scene())


def test_a_container_whose_descriptors_do_not_fit_is_let_go() -> None:
    async def scene() -> None:
        launcher = Launcher()
        asked = asyncio.create_task(launcher.link.start("co-1", {}))
        await launcher.hears()
        ends = [*os.pipe(), *os.pipe()]
        before = os.listdir("/dev/fd")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (two_more(), hard))
        try:
            launcher.says({"t": "started", "container": "co-1", "pid": 1}, *ends)
            with pytest.raises(ConnectionLost, match="too many files"):
                await asked
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await launcher.hears() == {"t": "kill", "container": "co-1"}
        assert os.listdir("/dev/fd") == before
        for fd in ends:
            os.close(fd)
        launcher.close()

    asyncio.run(scene())


def two_more() -> int:
    """The limit of descriptors with which this process can open two more."""
    taken = set(map(int, os.listdir("/dev/fd")))
    free = [number for number in range(len(taken) + 4) if number not in taken]
    return free[1] + 1


def test_a_refusal_is_raised_for_who_asked() -> None:
    async def scene() -> None:
        launcher = Launcher()
        asked = asyncio.create_task(launcher.link.attach("co-1"))
        await launcher.hears()
        launcher.says(
            {"t": "refused", "container": "co-1", "code": "SQ-1010", "message": "no", "remedy": "so"}
        )
        with pytest.raises(Error, match="no"):
            await asked
        launcher.close()

    asyncio.run(scene())


def test_ends_are_told_and_what_nobody_asked_leaves_no_descriptor_open() -> None:
    async def scene() -> None:
        launcher = Launcher()
        exits: list[Message] = []
        launcher.link.on_exit = exits.append
        before = len(os.listdir("/proc/self/fd"))
        read, write = os.pipe()
        launcher.says({"t": "started", "container": "co-9", "pid": 2}, read, write)
        launcher.says({"t": "surprise"}, read)
        launcher.says({"t": "exited", "container": "co-1", "cause": "oom"})
        os.close(read)
        os.close(write)
        async with asyncio.timeout(5):
            while not exits:
                await asyncio.sleep(0.001)
        assert exits == [{"t": "exited", "container": "co-1", "cause": "oom"}]
        assert len(os.listdir("/proc/self/fd")) == before
        launcher.close()

    asyncio.run(scene())


def test_a_launcher_that_dies_fails_what_was_asked_and_says_so_once() -> None:
    async def scene() -> None:
        launcher = Launcher()
        lost: list[bool] = []
        launcher.link.on_lost = lambda: lost.append(True)
        asked = [asyncio.create_task(launcher.link.start(name, {})) for name in ("co-1", "co-2")]
        await launcher.hears()
        launcher.sock.close()
        for each in asked:
            with pytest.raises(ConnectionLost):
                await each
        with pytest.raises(ConnectionLost):
            await launcher.link.listed()
        launcher.link.tell("stop", container="co-1")
        assert lost == [True]
        launcher.link.close()
        assert lost == [True]

    asyncio.run(scene())


def test_a_launcher_that_does_not_answer_is_taken_for_lost_and_told_to_end_what_it_may_start_yet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene() -> None:
        launcher = Launcher()
        launcher.link.answer_s = 0.01
        with pytest.raises(ConnectionLost, match="has not answered"):
            await launcher.link.start("co-1", {})
        assert launcher.link.silent
        assert f"process {os.getpid()} is in state R" in caplog.text
        assert [(await launcher.hears())["t"] for _ in range(2)] == ["start", "kill"]
        # Its late answer is nobody's, and its descriptors are closed.
        before = len(os.listdir("/proc/self/fd"))
        read, write = os.pipe()
        launcher.says({"t": "started", "container": "co-1", "pid": 1}, read, write)
        os.close(read)
        os.close(write)
        await asyncio.sleep(0.01)
        assert len(os.listdir("/proc/self/fd")) == before
        launcher.close()

    asyncio.run(scene())


def test_what_a_full_socket_does_not_take_is_sent_in_order_later() -> None:
    async def scene() -> None:
        launcher = Launcher()
        for number in range(500):
            launcher.link.tell("stop", container=f"co-{number}", why="x" * 2000)
        heard = [(await launcher.hears())["container"] for _ in range(500)]
        assert heard == [f"co-{number}" for number in range(500)]
        launcher.close()

    asyncio.run(scene())


def test_a_message_that_no_packet_holds_is_refused() -> None:
    async def scene() -> None:
        launcher = Launcher()
        with pytest.raises(ContainerStartError, match="fits into"):
            await launcher.link.start("co-1", {"env": "x" * PACKET})
        launcher.close()

    asyncio.run(scene())


def test_commands_have_their_own_ends() -> None:
    async def scene() -> None:
        launcher = Launcher()
        ended: list[Message] = []
        asked = asyncio.create_task(launcher.link.run("co-1", "ex", {"argv": ["true"]}, ended.append))
        assert (await launcher.hears())["exec"] == "ex"
        launcher.says({"t": "execed", "container": "co-1", "exec": "ex", "pid": 5})
        assert (await asked)[0]["pid"] == 5
        launcher.says({"t": "exec_exited", "container": "co-1", "exec": "ex", "code": 0})
        async with asyncio.timeout(5):
            while not ended:
                await asyncio.sleep(0.001)
        assert ended[0]["code"] == 0
        launcher.close()

    asyncio.run(scene())


def test_a_list_that_comes_in_several_packets_is_one_list() -> None:
    async def scene() -> None:
        launcher = Launcher()
        for _round in range(2):
            asked = asyncio.create_task(launcher.link.listed())
            await launcher.hears()
            launcher.says({"t": "containers", "containers": [{"container": "co-1"}], "more": True})
            launcher.says({"t": "containers", "containers": [{"container": "co-2"}], "more": False})
            assert [row["container"] for row in (await asked)["containers"]] == ["co-1", "co-2"]
        launcher.close()

    asyncio.run(scene())
