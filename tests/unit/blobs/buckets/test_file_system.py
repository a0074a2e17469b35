"""What a bucket's folder answers where something goes wrong, and what it says of it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from squall.blobs.buckets import fuse
from squall.blobs.buckets.file_system import FileSystem
from squall.blobs.buckets.memory_bucket import MemoryBucket
from squall.blobs.buckets.told import Told
from squall.blobs.buckets.tree import FRESH_S, Tree
from squall.model.errors import BucketFailed, BucketFull, BucketRefused, BucketUnreachable
from tests.unit.blobs.buckets.kernel import Kernel


class Scene:
    def __init__(self, *, read_only: bool = False) -> None:
        self.bucket = MemoryBucket()
        self.said: list[str] = []
        self.now_s = 0.0
        self.tree = Tree(self.bucket, "p", lambda: self.now_s)
        self.files = self.mounted(read_only=read_only)
        self.kernel = Kernel(self.files)

    def mounted(self, *, read_only: bool = False) -> FileSystem:
        return FileSystem(
            self.tree, owner=7, read_only=read_only, drafts=tempfile.gettempdir(), say=self.said.append
        )


def play(work: Callable[[Scene], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def scene() -> None:
        await work(Scene(**options))

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("problem", "number"),
    [
        (BucketRefused("no", bucket="b"), errno.EACCES),
        (BucketFull("no", bucket="b"), errno.ENOSPC),
        (BucketUnreachable("no", bucket="b"), errno.EIO),
        (BucketFailed("no", bucket="b"), errno.EIO),
    ],
)
def test_an_error_of_the_bucket_has_its_number_and_is_said(problem: Exception, number: int) -> None:
    async def work(scene: Scene) -> None:
        scene.bucket.failing = problem
        with pytest.raises(OSError) as caught:
            await scene.kernel.look_up("one")
        assert caught.value.errno == number
        assert scene.said == ["no"]
        scene.bucket.failing = None
        assert not await scene.kernel.exists("one")

    play(work)


def test_a_file_that_cannot_be_put_is_told_at_its_end_and_what_was_there_stays() -> None:
    async def work(scene: Scene) -> None:
        scene.bucket.objects["p/one"] = b"before"
        handle = await scene.kernel.open("one", os.O_WRONLY | os.O_TRUNC)
        await scene.kernel.pwrite(handle, 0, b"after")
        scene.bucket.failing = BucketFull("full", bucket="b")
        with pytest.raises(OSError) as caught:
            await scene.kernel.close(handle)
        assert caught.value.errno == errno.ENOSPC
        scene.bucket.failing = None
        assert scene.bucket.objects["p/one"] == b"before"
        assert await scene.kernel.read("one") == b"before"
        assert any("p/one was not written" in line for line in scene.said)

    play(work)


def test_what_is_open_in_a_mount_that_ends_is_dropped() -> None:
    async def work(scene: Scene) -> None:
        handle = await scene.kernel.open("half", os.O_WRONLY | os.O_CREAT)
        await scene.kernel.pwrite(handle, 0, b"half")
        scene.files.close()
        assert scene.bucket.objects == {}
        assert any("its container ended" in line for line in scene.said)

    play(work)


def test_the_last_to_close_wins_and_nobody_sees_a_mixture() -> None:
    async def work(scene: Scene) -> None:
        other = Kernel(scene.mounted())
        one = await scene.kernel.open("file", os.O_WRONLY | os.O_CREAT)
        two = await other.open("file", os.O_WRONLY | os.O_CREAT)
        await scene.kernel.pwrite(one, 0, b"1" * 50)
        await other.pwrite(two, 0, b"2" * 20)
        await other.close(two)
        assert await other.read("file") == b"2" * 20
        await scene.kernel.close(one)
        assert await other.read("file") == b"1" * 50

    play(work)


def test_one_that_reads_while_it_is_replaced_is_told() -> None:
    async def work(scene: Scene) -> None:
        scene.bucket.objects["p/one"] = b"x" * 20_000_000
        handle = await scene.kernel.open("one")
        await scene.kernel.pread(handle, 0, 100)
        await Kernel(scene.mounted()).write("one", b"y" * 20_000_000)
        with pytest.raises(OSError) as caught:
            await scene.kernel.pread(handle, 15_000_000, 100)
        assert caught.value.errno == errno.ESTALE

    play(work)


def test_what_others_change_is_seen_after_a_second() -> None:
    async def work(scene: Scene) -> None:
        assert not await scene.kernel.exists("one")
        scene.bucket.objects["p/one"] = b"1"
        scene.now_s += FRESH_S + 0.1
        assert await scene.kernel.read("one") == b"1"

    play(work)


def test_nothing_is_changed_where_it_is_for_reading_alone() -> None:
    async def work(scene: Scene) -> None:
        scene.bucket.objects["p/one"] = b"1"
        kernel = scene.kernel
        for tried in (
            kernel.write("one", b"2"),
            kernel.write("two", b"2"),
            kernel.mkdir("d"),
            kernel.unlink("one"),
            kernel.rename("one", "two"),
            kernel.truncate("one", 0),
        ):
            with pytest.raises(OSError) as caught:
                await tried
            assert caught.value.errno == errno.EROFS
        assert await kernel.read("one") == b"1"

    play(work, read_only=True)


def test_no_name_leads_out_of_the_prefix() -> None:
    async def work(scene: Scene) -> None:
        scene.bucket.objects["outside"] = b"no"
        for name in (b"..", b".", b"../outside", b"a/../../outside", b"\xff", b"a\x01"):
            with pytest.raises(OSError) as caught:
                scene.tree.child("", name)
            assert caught.value.errno in {errno.EINVAL, errno.EILSEQ}
        assert scene.tree.key("x/y") == "p/x/y"

    play(work)


def test_a_node_that_was_never_given_is_an_error_and_no_more() -> None:
    async def work(scene: Scene) -> None:
        for opcode in fuse.Opcode:
            with contextlib.suppress(OSError, fuse.MalformedError):
                await scene.kernel.ask(opcode, 4_000, fuse.packed_transfer(99, 0, 10) + b"\0" * 60)
        await scene.kernel.write("one", b"1")

    play(work)


def test_the_same_is_said_once_in_a_while() -> None:
    said: list[str] = []
    now = [0.0]
    told = Told(said.append, lambda: now[0])
    for at_s in (0.0, 1.0, 20.0, 31.0):
        now[0] = at_s
        told("away")
    told("else")
    assert said == ["away", "away", "else"]
