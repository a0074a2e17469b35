"""Packets keep their messages and descriptors together, and refuse what is none."""

from __future__ import annotations

import os
import socket

import pytest

from squall.runtime import packet


def test_a_message_and_its_descriptors_arrive_together_closed_at_exec() -> None:
    one, other = packet.pair()
    read, write = os.pipe()
    packet.send(one, {"t": "x", "n": 1}, (read, write))
    got = packet.receive(other)
    assert got is not None
    assert got.message == {"t": "x", "n": 1}
    assert len(got.fds) == 2
    assert not any(map(os.get_inheritable, got.fds))
    os.write(got.fds[1], b"through")
    assert os.read(read, 10) == b"through"
    for fd in (read, write, *got.fds):
        os.close(fd)
    one.close()
    assert packet.receive(other) is None
    other.close()


def test_the_kernel_says_who_sent() -> None:
    one, other = packet.pair()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    packet.send(one, {})
    got = packet.receive(other)
    assert got is not None
    assert got.sender == os.getpid()
    one.close()
    other.close()


@pytest.mark.parametrize("data", [b"x", b"[]", b"3", b"\xff\xff", b"{" * 1000, b"x" * (packet.MAX_BYTES + 2)])
def test_what_is_no_message_is_refused_and_its_descriptors_are_closed(data: bytes) -> None:
    one, other = packet.pair()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    read, write = os.pipe()
    packet.send_encoded(one, data, (write,))
    os.close(write)
    with pytest.raises(ValueError, match=r"\w"):
        packet.receive(other)
    # The copy that travelled was the last one.
    assert os.read(read, 1) == b""
    os.close(read)
    one.close()
    other.close()


def test_an_empty_packet_is_an_end_and_its_descriptors_are_closed() -> None:
    one, other = packet.pair()
    read, write = os.pipe()
    packet.send_encoded(one, b"", (write,))
    os.close(write)
    assert packet.receive(other) is None
    os.set_blocking(read, False)
    assert os.read(read, 1) == b""
    os.close(read)
    one.close()
    other.close()


def test_too_much_for_one_packet_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        packet.encode({"x": "y" * packet.MAX_BYTES})
