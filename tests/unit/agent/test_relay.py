"""The relay: routes are ours, frames before a resync are dropped, and nobody is flooded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from squall.agent.launcher_link import LauncherLink
from squall.agent.relay import MOST_BUFFERED, LocalContainer, Relay
from squall.wire.channel import Channel
from squall.wire.codec import Frame, Kind
from squall.wire.memory_channel import MemoryChannel, pair


class Box:
    """A container's end, and what it got."""

    def __init__(self, relay: Relay, route: int, link: LauncherLink) -> None:
        self.local = LocalContainer(f"co-{route}", "f", link, route, pid=0, init_pid=0)
        self.end, ours = pair()
        self.got: list[Frame] = []
        self.end.start(self.got.append, lambda _error: None)
        relay.add(self.local, ours)

    def serve(self) -> None:
        self.end.send(Frame(Kind.OPEN, 1, header=b'{"t":"serve"}'))


class Server:
    def __init__(self) -> None:
        self.end, self.channel = pair()
        self.got: list[Frame] = []
        self.end.start(self.got.append, lambda _error: None)

    def seen(self) -> list[tuple[int, Kind, int]]:
        return [(frame.route, frame.kind, frame.stream) for frame in self.got]


@contextmanager
def link() -> Iterator[LauncherLink]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made = LauncherLink(ours, "x", 0)
    yield made
    made.close()
    theirs.close()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_the_route_is_that_of_the_connection_whatever_the_frame_says() -> None:
    async def scene() -> None:
        relay, server = Relay(), Server()
        with link() as launcher:
            one, two = Box(relay, 1, launcher), Box(relay, 2, launcher)
            relay.connect(server.channel)
            for box in (one, two):
                box.serve()
            one.end.send(Frame(Kind.DATA, 1, route=2, header=b"{}", payload=b"mine"))
            await settle()
            assert sorted(server.seen()) == [(1, Kind.OPEN, 1), (1, Kind.DATA, 1), (2, Kind.OPEN, 1)]
            assert [frame.route for frame in server.got if bytes(frame.payload) == b"mine"] == [1]

    asyncio.run(scene())


def test_a_frame_from_the_server_reaches_the_container_that_it_names_and_nobody_else() -> None:
    async def scene() -> None:
        relay, server = Relay(), Server()
        with link() as launcher:
            one, two = Box(relay, 1, launcher), Box(relay, 2, launcher)
            relay.connect(server.channel)
            await settle()
            relay.down(Frame(Kind.DATA, 1, route=2, payload=b"yours"))
            relay.down(Frame(Kind.DATA, 1, route=9, payload=b"nobody's"))
            await settle()
            assert one.got == [], "not even a resync: its opening is on its way"
            assert [(frame.kind, frame.route, bytes(frame.payload)) for frame in two.got] == [
                (Kind.DATA, 0, b"yours")
            ]

    asyncio.run(scene())


def test_frames_of_before_a_resync_are_dropped() -> None:
    async def scene() -> None:
        relay, server = Relay(), Server()
        with link() as launcher:
            box = Box(relay, 1, launcher)
            box.serve()
            box.end.send(Frame(Kind.DATA, 1, payload=b"no server"))
            await settle()
            relay.connect(server.channel)
            box.end.send(Frame(Kind.DATA, 1, payload=b"of before"))
            box.end.send(Frame(Kind.OPEN, 3, payload=b"of before"))
            await settle()
            assert not server.got
            assert [frame.head() for frame in box.got] == [{"t": "resync"}]
            box.serve()
            box.end.send(Frame(Kind.DATA, 1, payload=b"of now"))
            await settle()
            assert server.seen() == [(1, Kind.OPEN, 1), (1, Kind.DATA, 1)]
            # Another server: the same again.
            relay.disconnect()
            other = Server()
            relay.connect(other.channel)
            box.end.send(Frame(Kind.DATA, 1, payload=b"for the first"))
            await settle()
            assert not other.got

    asyncio.run(scene())


def test_a_server_that_does_not_keep_up_holds_the_containers_until_it_has() -> None:
    async def scene() -> None:
        held: list[Channel] = []
        relay, server = Relay(on_hold=held.append), Server()
        with link() as launcher:
            box = Box(relay, 1, launcher)
            relay.connect(server.channel)
            box.serve()
            await settle()
            server.end.pause()
            piece = bytes(2**20)
            for _ in range(MOST_BUFFERED // len(piece) + 4):
                box.end.send(Frame(Kind.DATA, 1, payload=piece))
                await settle()
            assert held[:1] == [server.channel]
            assert server.channel.buffered <= MOST_BUFFERED + 2 * len(piece), "it went on regardless"
            assert box.end.buffered
            server.end.resume()
            await settle()
            relay.release()
            await settle()
            assert len(server.got) == MOST_BUFFERED // len(piece) + 5

    asyncio.run(scene())


def test_a_container_that_closes_its_channel_is_told_of_and_written_to_no_more() -> None:
    async def scene() -> None:
        gone: list[str] = []
        relay, server = Relay(on_gone=lambda local, _error: gone.append(local.id)), Server()
        with link() as launcher:
            box = Box(relay, 1, launcher)
            relay.connect(server.channel)
            box.end.close()
            await settle()
            assert gone == ["co-1"]
            relay.down(Frame(Kind.DATA, 1, route=1))
            relay.remove(box.local)
            relay.down(Frame(Kind.DATA, 1, route=1))

    asyncio.run(scene())


def test_a_server_that_has_just_gone_is_no_fault_of_the_container() -> None:
    async def scene() -> None:
        problems: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
        relay, server = Relay(), Server()
        with link() as launcher:
            box = Box(relay, 1, launcher)
            relay.connect(server.channel)
            server.channel.close()
            box.serve()
            await settle()
            assert not problems
            assert isinstance(box.local.channel, MemoryChannel)

    asyncio.run(scene())


def test_an_opening_that_is_on_its_way_is_not_asked_for_again() -> None:
    async def scene() -> None:
        relay, first, second = Relay(), Server(), Server()
        with link() as launcher:
            box = Box(relay, 1, launcher)
            # Sent, and not read yet, when the server is reached.
            box.serve()
            relay.connect(first.channel)
            await settle()
            assert first.seen() == [(1, Kind.OPEN, 1)]
            assert box.got == []
            relay.disconnect()
            relay.connect(second.channel)
            relay.connect(second.channel)
            await settle()
            assert [frame.kind for frame in box.got] == [Kind.OPEN], "asked for once"
            box.serve()
            await settle()
            assert second.seen() == [(1, Kind.OPEN, 1)]

    asyncio.run(scene())
