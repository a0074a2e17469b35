"""Image names: what is published, looked up, deleted and held, beside whoever prunes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from squall.context.fresh import fresh_id
from squall.model.errors import ImageNameNotFound, InvalidError, NotFoundError, ResourceExhaustedError
from squall.model.ids import NAMING
from squall.server.image_names import LONGEST_WORDS, MOST_NAMES, ImageNames
from squall.state.memory_state import MemoryState
from squall.wire.codec import MAX_PAYLOAD

ONE, TWO = "1" * 64, "2" * 64


class Scene:
    """Names, and a machine that has two images until it is told to lose one."""

    def __init__(self) -> None:
        self.here = {ONE: "slim, one", TWO: "slim, two"}
        self.used: list[str] = []
        self.away = False
        self.state = MemoryState()
        self.names = ImageNames(self.state, self.find, most=3)

    async def find(self, asked: str) -> dict[str, Any] | NotFoundError:
        await asyncio.sleep(0)
        if self.away:
            raise NotFoundError("no agent has joined")
        found = [key for key in self.here if key.startswith(asked)]
        if not found:
            return NotFoundError(f"no image here has the key {asked!r}")
        self.used.append(found[0])
        return {"key": found[0], "what": self.here[found[0]]}

    async def publish(
        self, name: str, key: str, naming: str | None = None, who: str = "ada@here"
    ) -> dict[str, Any]:
        head = {"id": naming or fresh_id(NAMING), "name": name, "key": key, "who": who}
        return await self.names.publish(head)

    async def means(self) -> dict[str, str]:
        return {row["name"]: row["key"] for row in (await self.names.rows({}))["names"]}


def play(work: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(30):
            await work(Scene())

    asyncio.run(run())


def test_a_name_means_the_image_that_was_published_last() -> None:
    async def work(scene: Scene) -> None:
        first = await scene.publish("base", ONE[:8])
        assert first | {"at_s": 0} == {
            "name": "base:latest",
            "key": ONE,
            "what": "slim, one",
            "who": "ada@here",
            "at_s": 0,
            "new": True,
        }
        assert not (await scene.publish("base:latest", ONE))["new"]
        await scene.publish("base:latest", TWO)
        assert (await scene.names.find({"name": "base"}))["key"] == TWO
        history = (await scene.names.history({"name": "base"}))["history"]
        assert [row["key"] for row in history] == [TWO, ONE]
        assert scene.used[-1] == TWO

    play(work)


def test_a_publishing_that_is_told_twice_does_not_undo_a_later_one() -> None:
    async def work(scene: Scene) -> None:
        naming = fresh_id(NAMING)
        await scene.publish("base", ONE, naming)
        await scene.publish("base", TWO)
        await scene.publish("base", ONE, naming)
        assert await scene.means() == {"base:latest": TWO}

    play(work)


def test_an_image_that_is_not_here_gets_no_name_and_one_that_has_gone_is_told_apart() -> None:
    async def work(scene: Scene) -> None:
        with pytest.raises(NotFoundError, match="no image here has the key"):
            await scene.publish("base", "3" * 64)
        assert await scene.means() == {}
        await scene.publish("base", ONE)
        del scene.here[ONE]
        with pytest.raises(
            ImageNameNotFound, match=r"111111111111 \(slim, one\), which is not on this machine"
        ) as gone:
            await scene.names.find({"name": "base"})
        assert "publish" in gone.value.remedy
        # A machine that does not answer may well have it.
        scene.away = True
        with pytest.raises(NotFoundError, match="no agent has joined") as away:
            await scene.names.find({"name": "base"})
        assert not isinstance(away.value, ImageNameNotFound)

    play(work)


def test_an_unknown_name_is_told_with_those_near_it() -> None:
    async def work(scene: Scene) -> None:
        await scene.publish("base:1", ONE)
        for asked in (scene.names.find, scene.names.history, scene.names.delete):
            with pytest.raises(ImageNameNotFound, match="published as base:latest; the nearest are base:1"):
                await asked({"name": "base"})
        deleted = await scene.names.delete({"name": "base:1", "who": "bob@here"})
        assert deleted == {"name": "base:1", "key": ONE}
        assert await scene.means() == {}
        (gone, given) = (await scene.names.history({"name": "base:1"}))["history"]
        assert (gone["key"], gone["who"], given["key"]) == ("", "bob@here", ONE)
        with pytest.raises(ImageNameNotFound):
            await scene.names.delete({"name": "base:1"})

    play(work)


@pytest.mark.parametrize(
    "head",
    [
        {},
        {"name": "base"},
        {"name": "Base", "key": ONE, "id": fresh_id(NAMING)},
        {"name": 3, "key": ONE, "id": fresh_id(NAMING)},
        {"name": "base", "key": ONE, "id": "na-1"},
        {"name": "base", "key": ONE, "id": None},
    ],
)
def test_what_makes_no_sense_is_refused(head: dict[str, Any]) -> None:
    async def work(scene: Scene) -> None:
        with pytest.raises(InvalidError):
            await scene.names.publish(head)
        assert await scene.means() == {}

    play(work)


def test_there_are_no_more_names_than_may_be_and_those_there_are_still_move() -> None:
    async def work(scene: Scene) -> None:
        for tag in ("1", "2", "3"):
            await scene.publish(f"base:{tag}", ONE)
        with pytest.raises(ResourceExhaustedError, match="3 names"):
            await scene.publish("base:4", ONE)
        await scene.publish("base:3", TWO)
        await scene.names.delete({"name": "base:1"})
        await scene.publish("base:4", ONE)
        assert await scene.means() == {"base:2": ONE, "base:3": TWO, "base:4": ONE}

    play(work)


def test_all_names_fit_into_one_frame_whatever_is_told_of_them() -> None:
    async def work(scene: Scene) -> None:
        scene.here[ONE] = "\U0001f40d" * 10_000
        name = "a" * 128 + ":" + "b" * 128
        for who in ("\U0001f40d" * 10_000, "\0\ud800" * 10_000):
            told = await scene.publish(name, ONE, who=who)
            assert (len(told["what"]), len(told["who"])) == (LONGEST_WORDS, LONGEST_WORDS)
            every = json.dumps({"names": [told] * MOST_NAMES}, ensure_ascii=False).encode()
            assert len(every) < MAX_PAYLOAD

    play(work)


def test_nobody_names_an_image_while_others_are_pruned() -> None:
    async def work(scene: Scene) -> None:
        await scene.publish("base:1", ONE)
        await scene.publish("base:2", ONE)
        async with scene.names.held() as held:
            assert held == {ONE: ["base:1", "base:2"]}
            naming = asyncio.ensure_future(scene.publish("late", TWO))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not naming.done()
            del scene.here[TWO]  # it is pruned
        with pytest.raises(NotFoundError):
            await naming
        assert "late:latest" not in await scene.means()

    play(work)
