"""Sealed files: written once, mapped by anybody, changed by nobody."""

from __future__ import annotations

import gc
import mmap
import os
import resource
import socket
from pathlib import Path

import numpy as np
import pytest

from squall.model.errors import DeserializationError, SharedMemoryTooSmall
from squall.wire import sealed
from squall.wire.payload import pack, pack_to_memfd, unpack_from_memfd
from squall.wire.sealed import is_sealed, read_piece, read_sealed, seal, spill


def test_what_is_sealed_can_be_read_and_not_changed() -> None:
    fd = seal([b"one", bytearray(b"two"), b"", memoryview(b"three")])
    view = read_sealed(fd, 11)
    assert bytes(view) == b"onetwothree"
    assert is_sealed(fd)
    for change in (lambda: os.write(fd, b"x"), lambda: os.ftruncate(fd, 3), lambda: os.ftruncate(fd, 300)):
        with pytest.raises(PermissionError):
            change()
    with pytest.raises(PermissionError):
        mmap.mmap(fd, 11)  # shared and writable
    view[0:3] = b"ONE"
    assert os.pread(fd, 11, 0) == b"onetwothree", "a reader writes into a copy of its own"
    os.close(fd)
    assert bytes(view) == b"ONEtwothree", "what is mapped outlives the descriptor"


def test_many_buffers_and_none_are_written() -> None:
    fd = seal([b"%05d" % number for number in range(3000)])
    assert bytes(read_sealed(fd, 15_000))[-10:] == b"0299802999"
    os.close(fd)
    fd = seal([])
    assert read_sealed(fd, 0).nbytes == 0
    os.close(fd)


def test_the_mapping_goes_with_the_last_view() -> None:
    packed = pack(np.arange(500_000))
    fd = pack_to_memfd(packed)
    inode = os.fstat(fd).st_ino
    array = unpack_from_memfd(fd, packed.lengths)
    part = array[10:20]
    os.close(fd)
    del array
    gc.collect()
    assert inode in mapped_inodes()
    assert part[0] == 10
    del part
    gc.collect()
    assert inode not in mapped_inodes()


def test_a_file_of_another_size_is_refused() -> None:
    fd = seal([b"12345"])
    for size in (4, 6, 10**12):
        with pytest.raises(DeserializationError):
            read_sealed(fd, size)
    os.close(fd)


def test_what_is_no_file_is_refused() -> None:
    left, right = socket.socketpair()
    pipe = os.pipe()
    for fd in (left.fileno(), pipe[0]):
        with pytest.raises(DeserializationError):
            read_sealed(fd, 0)
    left.close()
    right.close()
    for fd in pipe:
        os.close(fd)


def test_a_file_that_could_still_change_is_copied(tmp_path: Path) -> None:
    (tmp_path / "open").write_bytes(b"before")
    fd = os.open(tmp_path / "open", os.O_RDWR)
    view = read_sealed(fd, 6)
    os.pwrite(fd, b"after!", 0)
    os.ftruncate(fd, 0)
    assert bytes(view) == b"before"
    view[0] = 0
    os.close(fd)
    memfd = os.memfd_create("open", os.MFD_ALLOW_SEALING)
    os.write(memfd, b"before")
    view = read_sealed(memfd, 6)
    os.ftruncate(memfd, 0)
    assert bytes(view) == b"before"
    os.close(memfd)


def test_where_there_is_no_such_memory_an_unlinked_file_does_it(tmp_path: Path) -> None:
    value = (np.arange(300_000), b"x" * 100_000, "text")
    packed = pack(value)
    before = len(os.listdir("/dev/fd"))
    fd = spill(packed.buffers, str(tmp_path))
    assert not is_sealed(fd)
    assert list(tmp_path.iterdir()) == []
    array, data, text = unpack_from_memfd(fd, packed.lengths)
    assert (array == value[0]).all()
    assert (data, text) == value[1:]
    array[0] = 1
    os.close(fd)
    assert len(os.listdir("/dev/fd")) == before


def test_no_room_anywhere_is_said() -> None:
    before = len(os.listdir("/dev/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(SharedMemoryTooSmall, match="no room for a value of 10000 bytes"):
            seal([bytes(10_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(os.listdir("/dev/fd")) == before


def test_a_piece_is_read_into_bytes_of_its_own() -> None:
    fd = seal([b"0123456789"])
    assert read_piece(fd, 2, 3) == b"234"
    assert read_piece(fd, 8, 5) is None
    assert read_piece(fd, 0, sealed._MOST_AT_ONCE + 1) is None
    os.close(fd)


def mapped_inodes() -> set[int]:
    return {int(line.split()[4]) for line in Path("/proc/self/maps").read_text().splitlines()}
