"""The lent file: filled again for its owner alone, and only once nothing reads it."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from squall.model.errors import DeserializationError
from squall.wire.lent import Borrowed, LentFile, LentFiles
from squall.wire.sealed import seal

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this machine has no files in memory")

SIZE = 100_000


@pytest.fixture
def file() -> Iterator[LentFile]:
    one = LentFile([b"a" * SIZE])
    yield one
    one.close()


def test_what_is_filled_again_is_what_the_next_reader_sees(file: LentFile) -> None:
    reader = Borrowed()
    assert bytes(reader.read(file.fd, SIZE)) == b"a" * SIZE
    file.fill([b"bc", memoryview(bytearray(b"d" * 10)).cast("b")])
    assert bytes(reader.read(file.fd, 13)) == b"bc" + b"d" * 10 + b"a"


def test_a_reader_writes_to_pages_of_its_own(file: LentFile) -> None:
    view = Borrowed().read(file.fd, SIZE)
    view[0] = ord("z")
    assert os.pread(file.fd, 1, 0) == b"a"


def test_nobody_but_its_maker_can_write_or_cut_it(file: LentFile) -> None:
    again = os.open(f"/proc/self/fd/{file.fd}", os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            os.pwrite(again, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(again, 0)
        with pytest.raises(PermissionError):
            os.ftruncate(again, 2 * SIZE)
        with pytest.raises(OSError) as refused:
            mmap.mmap(again, SIZE)
        assert refused.value.errno == errno.EPERM
    finally:
        os.close(again)


def test_it_is_held_while_there_is_a_view_and_free_afterwards(file: LentFile) -> None:
    reader = Borrowed()
    assert _is_free(reader) is False
    view = reader.read(file.fd, SIZE)
    parts = [view[10:20]]
    del view
    assert _is_free(reader) is False
    parts.clear()
    assert _is_free(reader) is True
    reader.drop()
    assert _is_free(reader) is False


def test_a_view_outlives_the_hold_on_it(file: LentFile) -> None:
    reader = Borrowed()
    view = reader.read(file.fd, SIZE)
    reader.drop()
    assert bytes(view[:3]) == b"aaa"


def test_it_counts_as_held_when_a_fork_may_have_it(file: LentFile) -> None:
    reader = Borrowed()
    reader.read(file.fd, SIZE)
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    assert not reader.is_free
    reader.read(file.fd, SIZE)
    assert reader.is_free


def test_a_file_that_could_be_cut_or_written_is_refused() -> None:
    fd = os.memfd_create("open", os.MFD_ALLOW_SEALING)
    read_end, write_end = os.pipe()
    fixed = seal([b"a" * 10])
    try:
        os.write(fd, b"a" * 10)
        for wrong in (fd, read_end, fixed):
            with pytest.raises(DeserializationError):
                Borrowed().read(wrong, 11 if wrong is fixed else 10)
    finally:
        for one in (fd, read_end, write_end, fixed):
            os.close(one)


def test_a_value_beyond_the_end_of_its_file_is_refused(file: LentFile) -> None:
    for size in (SIZE + 1, 0):
        with pytest.raises(DeserializationError):
            Borrowed().read(file.fd, size)


def test_files_go_to_the_owner_they_were_made_for_and_fit() -> None:
    files = LentFiles(10 * SIZE)
    one = files.lend("f", [b"a" * SIZE])
    assert one is not None
    files.give_back("f", one, now_s=0.0)
    for owner, size in (("g", SIZE), ("f", SIZE + 1), ("f", SIZE // 2)):
        other = files.lend(owner, [b"b" * size])
        assert other is not None
        assert other is not one
        other.close()
    again = files.lend("f", [b"c" * (SIZE - 10)])
    assert again is one
    assert os.pread(again.fd, SIZE, 0) == b"c" * (SIZE - 10) + b"a" * 10
    assert files.lend("f", [b"d" * SIZE]) is not one
    one.close()


def test_what_lies_idle_is_bounded_and_goes_with_time() -> None:
    files = LentFiles(2 * SIZE)
    assert files.lend("f", [b"a" * (2 * SIZE + 1)]) is None
    made = [LentFile([b"a" * SIZE]) for _ in range(3)]
    for now_s, one in enumerate(made):
        files.give_back("f", one, now_s=float(now_s))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0].fd)
    assert files.drop_idle(since_s=1.0)
    assert files.lend("f", [b"b" * SIZE]) is made[2]
    assert not files.drop_idle(since_s=2.0)
    made[2].close()


def test_a_map_that_was_only_read_is_kept_and_shows_what_is_filled_in(file: LentFile) -> None:
    reader = Borrowed()
    assert bytes(reader.read(file.fd, SIZE)) == b"a" * SIZE
    reader.settle()
    assert _is_kept(reader) is True
    assert maps_of(file.fd) == 2, "the writer's and the reader's"
    file.fill([b"b" * SIZE])
    assert bytes(reader.read(file.fd, SIZE - 1)) == b"b" * (SIZE - 1)
    assert maps_of(file.fd) == 2
    reader.drop()
    assert _is_kept(reader) is False
    assert maps_of(file.fd) == 1


@pytest.mark.parametrize("place", [0, 5_000, SIZE - 1])
def test_a_map_that_was_written_to_is_let_go(file: LentFile, place: int) -> None:
    reader = Borrowed()
    reader.read(file.fd, SIZE)[place] = ord("z")
    assert _is_free(reader) is True
    reader.settle()
    assert not reader.is_kept
    assert bytes(reader.read(file.fd, SIZE)) == b"a" * SIZE


def test_a_map_with_views_is_let_go_to_them(file: LentFile) -> None:
    reader = Borrowed()
    view = reader.read(file.fd, SIZE)
    reader.settle()
    assert not reader.is_kept
    again = reader.read(file.fd, SIZE)
    again[0] = ord("z")
    assert view[0] == ord("a")


def test_a_map_is_kept_for_its_own_file_alone(file: LentFile) -> None:
    reader = Borrowed()
    reader.read(file.fd, SIZE)
    reader.settle()
    other = LentFile([b"o" * SIZE])
    assert bytes(reader.read(other.fd, SIZE)) == b"o" * SIZE
    assert maps_of(file.fd) == 1
    other.close()


def maps_of(fd: int) -> int:
    """How many maps this process has of a file."""
    inode = os.fstat(fd).st_ino
    return sum(f" {inode} " in line for line in Path("/proc/self/maps").read_text().splitlines())


def _is_free(reader: Borrowed) -> bool:
    return reader.is_free


def _is_kept(reader: Borrowed) -> bool:
    return reader.is_kept
