"""A machine of system calls on a bucket's folder, against a tree in memory that says what each has to do."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from squall.blobs.buckets.bucket import Bucket
from squall.blobs.buckets.file_system import FileSystem
from squall.blobs.buckets.tree import Tree
from tests.unit.blobs.buckets.kernel import Kernel

NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
DATA = st.binary(max_size=30)


class Model:
    """A tree as POSIX has it, but for links, and for folders that are moved with what is in them."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.folders: set[str] = {""}

    def above(self, path: str) -> None:
        """Raises for a path whose folder is none."""
        names = path.split("/")[:-1]
        for count in range(1, len(names) + 1):
            way = "/".join(names[:count])
            if way in self.files:
                raise OSError(errno.ENOTDIR, way)
            if way not in self.folders:
                raise OSError(errno.ENOENT, way)

    def below(self, path: str) -> set[str]:
        start = f"{path}/" if path else ""
        return {
            one[len(start) :].split("/")[0]
            for one in (*self.files, *self.folders)
            if one.startswith(start) and one != path
        } - {""}

    def mkdir(self, path: str) -> None:
        self.above(path)
        if path in self.folders or path in self.files:
            raise OSError(errno.EEXIST, path)
        self.folders.add(path)

    def write(self, path: str, data: bytes) -> None:
        self.above(path)
        if path in self.folders:
            raise OSError(errno.EISDIR, path)
        self.files[path] = data

    def append(self, path: str, data: bytes) -> None:
        self.write(path, self.read(path) + data)

    def truncate(self, path: str, size: int) -> None:
        self.write(path, self.read(path)[:size].ljust(size, b"\0"))

    def read(self, path: str) -> bytes:
        self.above(path)
        if path in self.folders:
            raise OSError(errno.EISDIR, path)
        if path not in self.files:
            raise OSError(errno.ENOENT, path)
        return self.files[path]

    def unlink(self, path: str) -> None:
        self.read(path)
        del self.files[path]

    def rmdir(self, path: str) -> None:
        self.listdir(path)
        if self.below(path):
            raise OSError(errno.ENOTEMPTY, path)
        self.folders.remove(path)

    def listdir(self, path: str) -> list[str]:
        self.above(path)
        if path in self.files:
            raise OSError(errno.ENOTDIR, path)
        if path not in self.folders:
            raise OSError(errno.ENOENT, path)
        return sorted(self.below(path))

    def rename(self, old: str, new: str) -> None:
        self.above(old)
        self.above(new)
        if old in self.folders:
            self._rename_folder(old, new)
            return
        data = self.read(old)
        if new in self.folders:
            raise OSError(errno.EISDIR, new)
        del self.files[old]
        self.files[new] = data

    def _rename_folder(self, old: str, new: str) -> None:
        if self.below(old):
            raise OSError(errno.EXDEV, old)
        if new in self.files:
            raise OSError(errno.ENOTDIR, new)
        if self.below(new):
            raise OSError(errno.ENOTEMPTY, new)
        self.folders.remove(old)
        self.folders.add(new)


class BucketMachine(RuleBasedStateMachine):
    """Two mounts of one bucket on one machine, of which each sees at once what the other did."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.model = Model()
        self.said: list[str] = []

    def bucket(self) -> tuple[Bucket, str]:
        """A bucket, and a prefix of its own in it."""
        raise NotImplementedError

    def objects(self) -> dict[str, bytes]:
        """All objects below the prefix, by their paths, as anybody else sees them."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        bucket, prefix = self.bucket()
        tree = Tree(bucket, prefix)
        self.kernels = [
            Kernel(
                FileSystem(tree, owner=0, read_only=False, drafts=tempfile.gettempdir(), say=self.said.append)
            )
            for _ in range(2)
        ]

    @rule(who=st.integers(0, 1), path=NAMES)
    def mkdir(self, who: int, path: str) -> None:
        self.same(lambda: self.model.mkdir(path), self.kernels[who].mkdir(path))

    @rule(who=st.integers(0, 1), path=NAMES, data=DATA)
    def write(self, who: int, path: str, data: bytes) -> None:
        self.same(lambda: self.model.write(path, data), self.kernels[who].write(path, data))

    @rule(who=st.integers(0, 1), path=NAMES, data=DATA)
    def append(self, who: int, path: str, data: bytes) -> None:
        self.same(lambda: self.model.append(path, data), self.kernels[who].append(path, data))

    @rule(who=st.integers(0, 1), path=NAMES, size=st.integers(0, 40))
    def truncate(self, who: int, path: str, size: int) -> None:
        if path not in self.model.folders:
            self.same(lambda: self.model.truncate(path, size), self.kernels[who].truncate(path, size))

    @rule(who=st.integers(0, 1), path=NAMES)
    def read(self, who: int, path: str) -> None:
        self.same(lambda: self.model.read(path), self.kernels[who].read(path))

    @rule(who=st.integers(0, 1), path=NAMES)
    def unlink(self, who: int, path: str) -> None:
        # A kernel asks to remove no folder so: it knows what it is.
        if path not in self.model.folders:
            self.same(lambda: self.model.unlink(path), self.kernels[who].unlink(path))

    @rule(who=st.integers(0, 1), path=NAMES)
    def rmdir(self, who: int, path: str) -> None:
        self.same(lambda: self.model.rmdir(path), self.kernels[who].rmdir(path))

    @rule(who=st.integers(0, 1), path=NAMES)
    def listdir(self, who: int, path: str) -> None:
        # As above.
        if path not in self.model.files:
            self.same(lambda: self.model.listdir(path), self.kernels[who].listdir(path))

    @rule(who=st.integers(0, 1), old=NAMES, new=NAMES)
    def rename(self, who: int, old: str, new: str) -> None:
        # What is moved into itself, a kernel refuses without asking; and it moves nothing onto itself.
        if old != new and not f"{new}/".startswith(f"{old}/") and not f"{old}/".startswith(f"{new}/"):
            self.same(lambda: self.model.rename(old, new), self.kernels[who].rename(old, new))

    @invariant()
    def others_see_the_same_objects(self) -> None:
        if hasattr(self, "kernels"):
            assert self.objects() == self.model.files
            assert self.said == []

    def same(self, wanted: Callable[[], Any], done: Coroutine[Any, Any, Any]) -> None:
        """The kernel gives what the model gives, or the same error."""
        outcomes: list[Any] = []
        for work in (wanted, lambda: self.loop.run_until_complete(done)):
            try:
                outcomes.append(work())
            except OSError as error:
                outcomes.append(os.strerror(error.errno or 0))
        assert outcomes[0] == outcomes[1]

    def teardown(self) -> None:
        self.loop.close()
