"""Serving a line: words are obeyed as they come, and a rest follows once nothing more does."""

from __future__ import annotations

import os

from squall.runtime import children, packet


def test_each_time_that_nothing_more_comes_there_is_one_rest() -> None:
    ours, theirs = packet.pair()
    woken, wake = os.pipe2(os.O_NONBLOCK)
    heard: list[str] = []

    def say(word: str) -> None:
        packet.send(theirs, {"t": word})

    def obey() -> bool:
        got = packet.receive(ours)
        assert got is not None
        heard.append(str(got.message["t"]))
        return heard[-1] != "end"

    def rest() -> None:
        heard.append("rest")
        say("again" if heard.count("rest") == 1 else "end")

    with ours, theirs:
        say("one")
        say("two")
        children.serve(woken, ours, obey=obey, take=lambda _one: None, rest=rest)
    os.close(woken)
    os.close(wake)
    assert heard == ["one", "two", "rest", "again", "rest", "end"]
