"""The bridge's two ends, without a container between them: frames, values, records, channels that come and go."""

from __future__ import annotations

import os
import select
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from squall.runtime import packet
from squall.runtime.oci.bridge import Bridge, Word
from squall.wire.codec import Frame, Kind, encode
from squall.wire.rights import Arrivals, close_all, rights
from squall.wire.sealed import is_sealed, read_sealed

pytestmark = pytest.mark.needs("linux")

_MIB = 1 << 20


@dataclass(slots=True)
class Pair:
    """Both bridges, the outer ends of the log, and the channels that were made inside."""

    outer: Bridge
    inner: Bridge
    log_read: socket.socket
    log_write: socket.socket
    made: list[socket.socket]

    def turn(self, times: int = 3) -> None:
        for _ in range(times):
            assert self.outer.turn()
            assert self.inner.turn()

    def settle(self) -> None:
        """Turn until nothing is on its way any more."""
        while True:
            self.turn()
            poll = select.poll()
            for bridge in (self.outer, self.inner):
                for fd, events in bridge.wants().items():
                    poll.register(fd, events & select.POLLIN)
            if not poll.poll(0) and self.outer.idle and self.inner.idle:
                return

    def open(self) -> tuple[socket.socket, socket.socket]:
        """A new channel: the agent's end and the runner's."""
        ours, theirs = socket.socketpair()
        self.outer.announce_channel(theirs)
        self.settle()
        for end in (ours, self.made[-1]):
            end.settimeout(10)
        return ours, self.made[-1]


@pytest.fixture
def pair() -> Iterator[Pair]:
    line, theirs = packet.pair()
    log_read, log_out = packet.pair()
    log_in, log_write = packet.pair()
    made: list[socket.socket] = []

    def make() -> socket.socket:
        ours, runners = socket.socketpair()
        made.append(runners)
        return ours

    both = Pair(Bridge(line, log_out), Bridge(theirs, log_in, make_channel=make), log_read, log_write, made)
    yield both
    both.outer.close_channel()
    both.inner.close_channel()
    for end in (line, theirs, log_read, log_out, log_in, log_write, *made):
        end.close()


def send(end: socket.socket, *frames: Frame) -> None:
    for frame in frames:
        data = b"".join(encode(frame))
        sent = end.sendmsg([data], rights(frame.fds))
        assert sent == len(data)


def receive(end: socket.socket, pair: Pair, count: int = 1) -> list[Frame]:
    arrivals = Arrivals()
    frames: list[Frame] = []
    end.setblocking(False)
    while len(frames) < count:
        pair.turn()
        try:
            data, ancillary, flags, _ = end.recvmsg(65536, 4096)
        except BlockingIOError:
            continue
        arrivals.note(ancillary, flags)
        frames += arrivals.sort(arrivals.decoder.feed(data))
    return frames


def a_value(size: int) -> int:
    fd = os.memfd_create("value", os.MFD_ALLOW_SEALING)
    os.write(fd, b"first")
    os.truncate(fd, size)
    return fd


def test_frames_arrive_whole_and_in_order_in_both_directions(pair: Pair) -> None:
    agent, runner = pair.open()
    frames = [Frame(Kind.DATA, 1, header=b'{"n":1}', payload=bytes([n]) * (n * 1000)) for n in range(1, 9)]
    for near, far in ((agent, runner), (runner, agent)):
        send(near, *frames)
        got = receive(far, pair, len(frames))
        assert [(f.header, bytes(f.payload)) for f in got] == [(f.header, bytes(f.payload)) for f in frames]


@pytest.mark.parametrize("size", [1, 32 * 1024, 3 * _MIB + 7])
def test_a_value_is_laid_into_memory_that_nobody_can_change(pair: Pair, size: int) -> None:
    agent, runner = pair.open()
    for near, far in ((agent, runner), (runner, agent)):
        fd = a_value(size)
        send(near, Frame(Kind.DATA, 1, payload=b"before"), Frame(Kind.DATA, 1, header=b'{"f":0}', fds=(fd,)))
        os.close(fd)
        plain, carrying = receive(far, pair, 2)
        assert (plain.payload, plain.fds) == (b"before", ())
        (got,) = carrying.take_fds()
        assert stat.S_ISREG(os.fstat(got).st_mode)
        assert is_sealed(got)
        assert bytes(read_sealed(got, size)[:5]) == (b"first" + bytes(size))[: min(size, 5)]
        os.close(got)


def test_several_values_stay_with_their_frames(pair: Pair) -> None:
    agent, runner = pair.open()
    for number in range(5):
        fds = tuple(a_value(100 + number) for _ in range(number))
        send(agent, Frame(Kind.DATA, number, fds=fds))
        close_all(fds)
    got = receive(runner, pair, 5)
    assert [(f.stream, len(f.fds)) for f in got] == [(number, number) for number in range(5)]
    for frame in got:
        assert [os.fstat(fd).st_size for fd in frame.fds] == [100 + frame.stream] * len(frame.fds)
        close_all(frame.take_fds())


def test_a_frame_that_comes_with_the_news_of_its_channel_is_not_lost(pair: Pair) -> None:
    agent, theirs = socket.socketpair()
    fd = a_value(70_000)
    send(agent, Frame(Kind.DATA, 1, fds=(fd,)))
    os.close(fd)
    pair.outer.announce_channel(theirs)
    while not pair.made:
        pair.turn()
    (frame,) = receive(pair.made[-1], pair)
    close_all(frame.take_fds())
    agent.close()


def test_what_was_printed_before_a_frame_goes_before_it(pair: Pair) -> None:
    agent, runner = pair.open()
    for number in range(20):
        pair.log_write.send(b"o%d" % number)
        send(runner, Frame(Kind.DATA, number))
        pair.inner.turn()
        packets = [pair.outer.line.recv(100_000) for _ in range(2)]
        assert [Word(packet_[0]) for packet_ in packets] == [Word.LOG, Word.FRAME]
        assert packets[0].endswith(b"o%d" % number)
    agent.close()


def test_the_end_of_a_channel_is_seen_at_its_other_end_and_the_next_one_works(pair: Pair) -> None:
    agent, runner = pair.open()
    agent.close()
    pair.settle()
    assert runner.recv(10) == b""
    agent, runner = pair.open()
    send(agent, Frame(Kind.PING, 7))
    assert receive(runner, pair)[0].stream == 7
    runner.close()
    pair.settle()
    agent.setblocking(True)
    assert agent.recv(10) == b""
    agent.close()


def test_what_was_under_way_in_an_older_channel_does_not_reach_the_next(pair: Pair) -> None:
    agent, runner = pair.open()
    send(runner, *(Frame(Kind.DATA, 1, payload=bytes(15_000)) for _ in range(4)))
    pair.inner.turn()
    newer, runner_again = pair.open()
    send(runner_again, Frame(Kind.DATA, 2))
    assert receive(newer, pair)[0].stream == 2
    for end in (agent, newer):
        end.close()


def test_a_side_that_does_not_read_holds_up_only_its_own_direction(pair: Pair) -> None:
    agent, runner = pair.open()
    runner.setblocking(False)
    for _ in range(2000):
        try:
            send(runner, Frame(Kind.DATA, 1, payload=bytes(10_000)))
        except (BlockingIOError, AssertionError):
            break
        pair.turn(1)
    send(agent, Frame(Kind.PING, 9))
    assert receive(runner, pair)[0].stream == 9
    agent.close()


def test_words_come_with_who_said_them(pair: Pair) -> None:
    pair.outer.line.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    pair.inner.say(Word.RUNNING)
    pair.inner.say(Word.ENDED, b"{}")
    pair.settle()
    assert list(pair.outer.words) == [(Word.RUNNING, b"", os.getpid()), (Word.ENDED, b"{}", os.getpid())]


def test_no_frame_is_passed_on_after_one_that_breaks_the_protocol(pair: Pair) -> None:
    agent, runner = pair.open()
    runner.sendall(b"no frame at all, by any reading")
    pair.settle()
    assert agent.recv(10) == b""
    agent.close()


def test_the_end_of_the_line_is_told(pair: Pair) -> None:
    pair.inner.line.shutdown(socket.SHUT_RDWR)
    assert not pair.outer.turn()
