"""Listening and dialing: long paths, stale sockets, other users, full lines."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from squall.model.errors import PeerRefused
from squall.wire.address import Peer, address_of, check_peer, connect, peer_of
from squall.wire.codec import Frame, Kind
from squall.wire.socket_channel import SocketChannel, dial, serve


def long_folder(tmp_path: Path) -> Path:
    folder = tmp_path / ("d" * 90) / ("e" * 90)
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("long", [False, True])
def test_a_path_of_any_length_is_served_and_dialed(tmp_path: Path, *, long: bool) -> None:
    path = (long_folder(tmp_path) if long else tmp_path) / "server.sock"

    async def main() -> None:
        got: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

        def on_connect(channel: SocketChannel, peer: Peer) -> None:
            assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.geteuid(), os.getegid())
            channel.start(got.set_result, lambda _: None)

        endpoint = serve(path, on_connect)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        channel = await dial(path)
        channel.send(Frame(Kind.PING))
        assert (await asyncio.wait_for(got, 10)).kind is Kind.PING
        blocking = connect(path)
        assert peer_of(blocking).uid == os.geteuid()
        blocking.close()
        channel.close()
        endpoint.close()
        endpoint.close()
        assert list(path.parent.iterdir()) == []
        with pytest.raises(FileNotFoundError):
            await dial(path)
        with pytest.raises(FileNotFoundError):
            connect(path)

    asyncio.run(main())


def test_a_socket_that_nobody_listens_on_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(str(path))

    async def main() -> None:
        with pytest.raises(ConnectionRefusedError):
            await dial(path)
        endpoint = serve(path, lambda channel, _: channel.close())
        (await dial(path)).close()
        endpoint.close()

    asyncio.run(main())


def test_a_live_socket_and_what_is_no_socket_are_left_alone(tmp_path: Path) -> None:
    path, file = tmp_path / "server.sock", tmp_path / "precious"
    file.write_text("kept")

    async def main() -> None:
        endpoint = serve(path, lambda channel, _: channel.close())
        for taken in (path, file):
            with pytest.raises(OSError) as caught:
                serve(taken, lambda channel, _: channel.close())
            assert caught.value.errno == errno.EADDRINUSE
        (await dial(path)).close()
        endpoint.close()

    asyncio.run(main())
    assert file.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [file]


def test_closing_leaves_the_socket_of_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"

    async def main() -> None:
        first = serve(path, lambda channel, _: channel.close())
        path.unlink()
        second = serve(path, lambda channel, _: channel.close())
        first.close()
        (await dial(path)).close()
        second.close()

    asyncio.run(main())


def test_dialing_a_full_line_ends_in_time(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"

    async def main() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            listening.bind(str(path))
            listening.listen(0)
            waiting = [await dial(path)]
            with pytest.raises(TimeoutError):
                while len(waiting) < 10:
                    waiting += [await dial(path, timeout_s=0.05)]
            for channel in waiting:
                channel.close()

    asyncio.run(main())


def test_another_user_is_refused(tmp_path: Path) -> None:
    stranger, path = os.geteuid() + 1, tmp_path / "server.sock"
    left, right = socket.socketpair()
    assert check_peer(left).uid == os.geteuid()
    with pytest.raises(PeerRefused):
        check_peer(left, stranger)
    left.close()
    right.close()

    async def main() -> None:
        endpoint = serve(path, lambda *_: pytest.fail("a stranger was let in"), uid=stranger)
        with connect(path) as sock:
            sock.setblocking(False)
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1), 10) == b""
        for dialing in (dial(path, uid=stranger), asyncio.to_thread(connect, path, uid=stranger)):
            with pytest.raises(PeerRefused):
                await dialing
        endpoint.close()

    asyncio.run(main())


def test_a_short_path_is_used_as_it_is_and_a_long_one_through_its_folder(tmp_path: Path) -> None:
    with address_of("/run/x.sock") as address:
        assert address == "/run/x.sock"
    before = len(os.listdir("/dev/fd"))
    with address_of(long_folder(tmp_path) / "x.sock") as address:
        assert address.startswith("/proc/self/fd/")
        assert len(address) < 108
    assert len(os.listdir("/dev/fd")) == before


def test_a_server_without_room_for_a_connection_takes_it_later(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "server.sock"

    async def main() -> None:
        taken: asyncio.Future[SocketChannel] = asyncio.get_running_loop().create_future()
        endpoint = serve(path, lambda channel, _: taken.set_result(channel))
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(sock.fileno())
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            sock.connect(str(path))
            for _ in range(20):
                await asyncio.sleep(0)
            assert endpoint.resting
            assert not taken.done()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        (await asyncio.wait_for(taken, 10)).close()
        sock.close()
        endpoint.close()

    asyncio.run(main())
