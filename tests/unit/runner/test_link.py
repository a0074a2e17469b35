"""The runner's link: frames are read by a thread of their own, or by the main thread while that has nothing to do."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from squall.runner.link import SERVE, RunnerLink, Watch
from squall.wire.blocking import BlockingLink
from squall.wire.codec import Frame, Kind, write_head


class Bench:
    """A link whose thread runs, and the launcher's and the agent's ends of it. The test's thread is the main thread."""

    def __init__(self) -> None:
        self.launcher, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.link = RunnerLink(control)
        self.got: SimpleQueue[tuple[int, str]] = SimpleQueue()
        self.link.on_serve = self._take
        threading.Thread(target=self.link.run, daemon=True).start()
        self.agent = self.attach()

    def attach(self) -> BlockingLink:
        """A new channel, once the link has said what it has in hand."""
        ours, theirs = socket.socketpair()
        socket.send_fds(self.launcher, [json.dumps({"t": "channel"}).encode()], [theirs.fileno()])
        theirs.close()
        agent = BlockingLink(ours)
        opening = agent.recv()
        assert opening is not None
        assert opening.head()["t"] == "serve"
        # What follows proves that the link's thread has come to reading.
        say(agent, "hello")
        assert self.got.get(timeout=5)[0] != threading.get_ident()
        return agent

    def _take(self, head: dict[str, Any], _frame: Frame) -> None:
        self.got.put((threading.get_ident(), head["t"]))

    def has(self, count: int) -> Callable[[], bool]:
        return lambda: self.got.qsize() >= count


def say(agent: BlockingLink, what: str) -> None:
    agent.send(Frame(Kind.DATA, SERVE, header=write_head({"t": what})))


def test_the_main_thread_reads_while_it_waits_and_the_links_own_thread_at_all_other_times() -> None:
    bench = Bench()
    say(bench.agent, "in")
    bench.link.read_here(bench.has(1))
    first = bench.got.get(timeout=5)
    later = threading.Timer(0.05, say, (bench.agent, "in"))
    later.start()
    bench.link.read_here(bench.has(1))
    main = threading.get_ident()
    # The first one may have been under way to the other thread already.
    assert first[1] == "in"
    assert bench.got.get(timeout=5) == (main, "in")
    say(bench.agent, "interrupt")
    reader, what = bench.got.get(timeout=5)
    assert (reader != main, what) == (True, "interrupt")


def test_frames_keep_their_order_whoever_reads_them() -> None:
    bench = Bench()
    many = 300

    def speak() -> None:
        for number in range(many):
            say(bench.agent, str(number))

    threading.Thread(target=speak, daemon=True).start()
    seen: list[str] = []
    while len(seen) < many:
        bench.link.read_here(bench.has(1))
        seen.append(bench.got.get(timeout=5)[1])
    assert seen == [str(number) for number in range(many)]


def test_nothing_to_read_is_given_up_after_a_while() -> None:
    bench = Bench()
    bench.link.read_here(lambda: False, timeout_s=0.01)
    say(bench.agent, "in")
    assert bench.got.get(timeout=5)[1] == "in"


@pytest.mark.parametrize("last", [b"", b"\xff" * 40])
def test_the_end_of_a_channel_sends_the_main_thread_back_and_the_next_channel_is_read(last: bytes) -> None:
    bench = Bench()
    threading.Timer(0.05, _end, (bench.agent, last)).start()
    bench.link.read_here(lambda: False)
    bench.agent = bench.attach()
    say(bench.agent, "in")
    bench.link.read_here(bench.has(1))
    assert bench.got.get(timeout=5)[1] == "in"


def _end(agent: BlockingLink, last: bytes) -> None:
    if last:
        with socket.socket(fileno=os.dup(agent.fileno())) as raw:
            raw.sendall(last)
    else:
        agent.close()


def test_a_channel_that_ends_as_the_main_thread_begins_to_read_it_is_no_error() -> None:
    ours, theirs = socket.socketpair()
    control, _other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link = RunnerLink(control)
    with ours, theirs, control, _other:
        channel = BlockingLink(theirs)
        watch = Watch(channel)
        link._channel, link._watch = channel, watch
        wrong: list[BaseException] = []

        def read() -> None:
            try:
                link.read_here(lambda: False, 5.0)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it would end the container
                wrong.append(error)

        with link._turn:
            # The main thread has seen the channel, and waits for its turn, in which the other thread finds its end.
            main = threading.Thread(target=read)
            main.start()
            time.sleep(0.2)
            link._channel = None
            watch.close()
        main.join(5)
        assert not main.is_alive()
        assert not wrong
