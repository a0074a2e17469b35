"""The direct line: the thread that waits sends and reads, and whatever is wrong leaves the call to the loop."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from squall.model.errors import AppStopped, FunctionNotFound, TooManyInputs
from squall.sdk.direct import DirectLine
from squall.wire.blocking import BlockingLink
from squall.wire.codec import Frame, Kind
from squall.wire.stream import write_error

Answer = Callable[[BlockingLink, Frame], None]


class Server:
    """What is at the other end: a thread a connection, which answers each OPEN as the test says."""

    def __init__(self) -> None:
        self.answer: Answer = lambda link, frame: link.send(
            Frame(Kind.END, frame.stream, payload=frame.payload)
        )
        self.opened: list[tuple[int, bytes]] = []
        self.links: list[BlockingLink] = []
        self.ended = threading.Event()

    def dial(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        link = BlockingLink(theirs)
        self.links.append(link)
        threading.Thread(target=self._serve, args=(link,), daemon=True).start()
        return ours

    def _serve(self, link: BlockingLink) -> None:
        while (frame := link.recv()) is not None:
            self.opened.append((frame.stream, frame.header))
            self.answer(link, frame)
        self.ended.set()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    for link in server.links:
        link.close()


def test_calls_go_one_after_another_over_one_connection(server: Server) -> None:
    line = DirectLine(server.dial)
    got: list[Frame] = []
    assert line.carry(b"{}", [b"one"], got.append)
    assert line.carry(b"{}", [b"t", b"wo"], got.append)
    assert [bytes(frame.payload) for frame in got] == [b"one", b"two"]
    assert server.opened == [(1, b"{}"), (3, b"{}")]
    assert len(server.links) == 1


def test_frames_before_the_last_and_their_descriptors_are_handed_on_and_not_kept(server: Server) -> None:
    def answer(link: BlockingLink, frame: Frame) -> None:
        link.send(Frame(Kind.DATA, 99, fds=(read,)))
        link.send(Frame(Kind.DATA, frame.stream, fds=(read,)))
        link.send(Frame(Kind.END, frame.stream))

    read, write = os.pipe()
    server.answer = answer
    seen: list[tuple[Kind, int]] = []
    assert DirectLine(server.dial).carry(b"", [], lambda frame: seen.append((frame.kind, len(frame.fds))))
    assert seen == [(Kind.DATA, 1), (Kind.END, 0)]
    os.close(read)
    # Nobody has the reading end any more.
    with pytest.raises(BrokenPipeError):
        os.write(write, b"x")
    os.close(write)


def test_a_second_call_at_the_same_time_is_not_taken(server: Server) -> None:
    line = DirectLine(server.dial)
    inner: list[bool | None] = []
    assert line.carry(b"", [], lambda _frame: inner.append(line.carry(b"", [], lambda _frame: None)))
    assert inner == [None], "nothing of it has been sent"


def test_a_connection_that_ends_leaves_the_call_to_the_loop_and_the_next_one_dials_anew(
    server: Server,
) -> None:
    line = DirectLine(server.dial)
    answer, server.answer = server.answer, lambda link, _frame: link.close()
    assert not line.carry(b"", [], lambda _frame: None)
    server.answer = answer
    assert line.carry(b"", [], lambda _frame: None)
    assert [stream for stream, _ in server.opened] == [1, 1]


def test_a_server_that_is_not_there_leaves_the_call_to_the_loop() -> None:
    def dial() -> socket.socket:
        raise ConnectionRefusedError

    assert not DirectLine(dial).carry(b"", [], lambda _frame: None)


def test_errors_are_answers_but_for_those_that_a_new_connection_may_heal(server: Server) -> None:
    line = DirectLine(server.dial)
    got: list[Kind] = []
    for error, answered in (
        (AppStopped("it was stopped"), True),
        (FunctionNotFound("not yet"), None),
        (TooManyInputs("no room", retry_after_s=1.0), None),
    ):
        server.answer = lambda link, frame, error=error: link.send(  # type: ignore[misc]  # bound here
            Frame(Kind.FAIL, frame.stream, 0, write_error(error))
        )
        assert line.carry(b"", [], lambda frame: got.append(frame.kind)) is answered
    assert got == [Kind.FAIL]
    assert len(server.links) == 1


def test_an_interrupt_ends_the_connection_and_with_it_the_call(server: Server) -> None:
    def interrupt(_frame: Frame) -> None:
        raise KeyboardInterrupt

    line = DirectLine(server.dial)
    with pytest.raises(KeyboardInterrupt):
        line.carry(b"", [], interrupt)
    assert server.ended.wait(5)
    assert line.carry(b"", [], lambda _frame: None)
