"""The client's channel out of a container: it ends with its generation, whenever that ends, and never stays open unheard."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable, Coroutine

import pytest

from squall.runner.link import RunnerLink
from squall.sdk.link_channel import LinkChannel
from squall.wire.blocking import BlockingLink
from squall.wire.codec import Frame, Kind, write_head

_PATIENCE_S = 5
# A link ends its process when its launcher is gone: none goes before this process does.
_BENCHES: list[Bench] = []


class Bench:
    """A link whose thread runs, and the launcher's end of it."""

    def __init__(self) -> None:
        self.launcher, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.link = RunnerLink(control)
        self._served = threading.Event()
        self.link.on_serve = lambda _head, _frame: self._served.set()
        threading.Thread(target=self.link.run, daemon=True).start()
        self.agents: list[BlockingLink] = []
        _BENCHES.append(self)

    def attach(self) -> BlockingLink:
        """A new channel, once the link reads it, and everybody was told."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _PATIENCE_S, 0))
        socket.send_fds(self.launcher, [json.dumps({"t": "channel"}).encode()], [theirs.fileno()])
        theirs.close()
        agent = BlockingLink(ours)
        self.agents.append(agent)
        opening = agent.recv()
        assert opening is not None
        assert opening.head()["t"] == "serve"
        self._served.clear()
        agent.send(Frame(Kind.DATA, 1, header=write_head({"t": "hello"})))
        assert self._served.wait(_PATIENCE_S)
        return agent


class Ends:
    """When a channel has ended, and with what."""

    def __init__(self, channel: LinkChannel) -> None:
        self.error: Exception | None = None
        self._ended = asyncio.Event()
        channel.start(lambda _frame: None, self._note)

    @property
    def seen(self) -> bool:
        return self._ended.is_set()

    async def wait(self) -> str:
        async with asyncio.timeout(_PATIENCE_S):
            await self._ended.wait()
        return str(self.error)

    def _note(self, error: Exception | None) -> None:
        self.error = error
        self._ended.set()


def _run(test: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(test())


def test_a_channel_that_was_made_while_there_was_no_agent_ends_when_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        bench = Bench()
        first = bench.attach()
        waits, next_channel = threading.Event(), bench.link._next_channel

        def noted() -> BlockingLink:
            waits.set()
            return next_channel()

        monkeypatch.setattr(bench.link, "_next_channel", noted)
        first.close()
        assert waits.wait(_PATIENCE_S)
        between = Ends(LinkChannel(bench.link))
        bench.attach()
        assert "new agent" in await between.wait()

    _run(test)


def test_a_channel_whose_generation_ends_before_anybody_listens_ends_all_the_same() -> None:
    async def test() -> None:
        bench = Bench()
        first = bench.attach()
        channel = LinkChannel(bench.link)
        first.close()
        bench.attach()
        assert "new agent" in await Ends(channel).wait()

    _run(test)


def test_a_channel_ends_when_the_agent_has_reached_another_server_and_the_next_one_is_heard() -> None:
    async def test() -> None:
        bench = Bench()
        agent = bench.attach()
        ends = Ends(LinkChannel(bench.link))
        agent.send(Frame(Kind.OPEN, 2, header=write_head({"t": "resync"})))
        assert "new agent or server" in await ends.wait()
        again = LinkChannel(bench.link)
        lasting = Ends(again)
        again.send(Frame(Kind.OPEN, 1, header=write_head({"t": "echo"})))
        opening = agent.recv()
        said = agent.recv()
        assert [opening and opening.head()["t"], said and said.head()["t"]] == ["serve", "echo"]
        assert not lasting.seen

    _run(test)


def test_a_channel_that_was_made_in_a_generation_does_not_end_at_its_beginning() -> None:
    """The word of a generation may come when a channel of that generation listens already."""

    async def test() -> None:
        bench = Bench()
        bench.attach()
        channel = LinkChannel(bench.link)
        ends = Ends(channel)
        channel._hear(None)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not ends.seen

    _run(test)
