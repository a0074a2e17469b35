"""Images that another machine has built, fetched with all that they are made of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from squall.agent.elsewhere import Elsewhere
from squall.agent.far_blobs import ServerBlobs
from squall.blobs.digest import digest_of
from squall.blobs.disk_blobs import DiskBlobs
from squall.images.rooted.kept import Kept
from squall.images.rooted.nouns import Built
from squall.model.errors import NotFoundError
from squall.wire.codec import Frame
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.stream import Stream
from tests.unit.agent.test_collecting import tree_of

KEYS = tuple(f"{number:064x}" for number in range(1, 4))
LAYERS = (b"the lowest" * 50_000, b"one more", b"the last")


class Machine:
    """A machine: its store, its images, and how others see them."""

    def __init__(self, folder: Path, blobs: DiskBlobs) -> None:
        self.blobs = blobs
        self.kept = Kept(folder / "images")
        self.session: Session | None = None
        far = ServerBlobs(lambda: self.session)
        self.elsewhere = Elsewhere(self.kept, blobs, far, lambda: self.session)
        self.asked: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def build(self) -> None:
        """Images, each over the one before."""
        for number, key in enumerate(KEYS):
            await self.blobs.put(LAYERS[number])
            await self.blobs.put(tree_of(LAYERS[number]))
            trees = tuple(digest_of(tree_of(data)) for data in LAYERS[: number + 1])
            parent = KEYS[number - 1] if number else ""
            self.kept.keep(Built(key=key, trees=trees, label=f"step {number}", parent=parent))

    def answer(self, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
        """As the server passes questions on."""
        self.asked.append(str(head["t"]))
        if head["t"] == "image.record":
            self.elsewhere.give_record(stream, head, frame)
            return

        async def give() -> None:
            try:
                await self.elsewhere.give_blob(stream, head)
            except NotFoundError as missing:
                stream.fail(missing)

        self._tasks.append(asyncio.ensure_future(give()))


def play(tmp_path: Path, work: Callable[[Machine, Machine], Awaitable[None]]) -> None:
    async def run() -> None:
        stores = [await DiskBlobs.open(tmp_path / name) for name in ("a", "b")]
        builder, other = (
            Machine(tmp_path / f"of-{name}", store) for name, store in zip("ab", stores, strict=True)
        )
        await builder.build()
        near, far = pair()
        other.session = Session(near, dialer=True)
        Session(far, dialer=False, on_open=builder.answer)
        await work(builder, other)
        other.session.close()
        for store in stores:
            await store.close()

    asyncio.run(run())


def test_an_image_comes_with_what_it_stands_on_and_is_then_as_if_it_was_built_here(tmp_path: Path) -> None:
    async def work(builder: Machine, other: Machine) -> None:
        said: list[str] = []
        assert await other.elsewhere.fetch(KEYS, said.append) == 3
        assert [line.startswith(f"fetched step {number} ") for number, line in enumerate(said)] == [True] * 3
        for key in KEYS:
            here, there = other.kept.find(key), builder.kept.find(key)
            assert here is not None
            assert there is not None
            assert here.trees == there.trees
        for data in LAYERS:
            assert await other.blobs.get(digest_of(data)) == data
        asked = len(builder.asked)
        assert await other.elsewhere.fetch(KEYS, said.append) == 0
        assert len(builder.asked) == asked, "what is here is not asked for"

    play(tmp_path, work)


def test_what_the_other_machine_has_lost_is_left_to_be_built_here(tmp_path: Path) -> None:
    async def work(builder: Machine, other: Machine) -> None:
        await builder.blobs.delete([digest_of(LAYERS[1])])
        assert await other.elsewhere.fetch(KEYS, lambda _line: None) == 1
        assert other.kept.find(KEYS[0]) is not None
        assert other.kept.find(KEYS[1]) is None
        assert await other.elsewhere.fetch(["f" * 64], lambda _line: None) == 0

    play(tmp_path, work)


def test_a_record_for_another_image_is_not_believed(tmp_path: Path) -> None:
    async def work(builder: Machine, other: Machine) -> None:
        wrong = builder.kept.find(KEYS[2])
        assert wrong is not None
        (tmp_path / "of-a" / "images" / KEYS[0]).write_text(json.dumps(wrong.to_json()))
        assert await other.elsewhere.fetch(KEYS[:1], lambda _line: None) == 0
        assert other.kept.find(KEYS[0]) is None

    play(tmp_path, work)
