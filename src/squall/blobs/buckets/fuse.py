"""FUSE protocol: the kernel's requests as values, and answers as bytes.

Layouts and numbers are those of the kernel's `include/uapi/linux/fuse.h` (ABI 7.31, Linux 5.10), explained in fuse(4) and
in `Documentation/filesystems/fuse.rst` there. Later kernels speak it too: each side uses the smaller of both versions, and
fields were only ever added at the ends. All numbers are in the machine's own order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MAJOR: Final = 7
MINOR: Final = 31
ROOT: Final = 1
"""The node of the directory that is mounted."""
WRITE_BYTES: Final = 1 << 20
"""The most that one request to write or to read has."""
REQUEST_BYTES: Final = WRITE_BYTES + 4096
"""What a buffer for requests needs: the kernel refuses to fill a smaller one."""
KEEP_CACHE: Final = 1 << 1  # FOPEN_KEEP_CACHE
NO_REPLACE: Final = 1  # RENAME_NOREPLACE, of renameat2(2)

_HEADER: Final = struct.Struct("=IIQQIIIHH")
_ANSWER: Final = struct.Struct("=IiQ")
_ATTRIBUTES: Final = struct.Struct("=6Q10I")
_ENTRY: Final = struct.Struct("=4Q2I")
_STAT: Final = struct.Struct("=QII")
_OPENED: Final = struct.Struct("=QIi")
_WRITTEN: Final = struct.Struct("=II")
_INIT_IN: Final = struct.Struct("=IIII")
_INIT_OUT: Final = struct.Struct("=IIIIHHIIHHI28x")
_SPACE: Final = struct.Struct("=5Q4I24x")
_DIRENT: Final = struct.Struct("=QQII")
_SET: Final = struct.Struct("=IIQQQQQQIIIIIIII")
_TRANSFER: Final = struct.Struct("=QQIIQII")
_HANDLE: Final = struct.Struct("=Q")
_FLAGS: Final = struct.Struct("=I")
_PAIRS: Final = struct.Struct("=QQ")
_COUNT: Final = struct.Struct("=II")
_CREATE: Final = struct.Struct("=IIII")
_MKDIR: Final = struct.Struct("=II")
_RENAME2: Final = struct.Struct("=QII")
_GETATTR: Final = struct.Struct("=IIQ")

_ASYNC_READ: Final = 1 << 0
_ATOMIC_TRUNCATE: Final = 1 << 3
_BIG_WRITES: Final = 1 << 5
_AUTO_INVALIDATE: Final = 1 << 12
_PARALLEL_LOOKUPS: Final = 1 << 18
_MAX_PAGES: Final = 1 << 22
_WANTED: Final = (
    _ASYNC_READ | _ATOMIC_TRUNCATE | _BIG_WRITES | _AUTO_INVALIDATE | _PARALLEL_LOOKUPS | _MAX_PAGES
)
_PAGE: Final = 4096
_BLOCK: Final = 512
_GETATTR_HANDLE: Final = 1

SET_MODE: Final = 1 << 0
SET_OWNER: Final = 1 << 1
SET_GROUP: Final = 1 << 2
SET_SIZE: Final = 1 << 3
_SET_HANDLE: Final = 1 << 6


class Opcode(IntEnum):
    """What the kernel asks for; what is not here is not offered."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    RENAME2 = 45


class MalformedError(ValueError):
    """This is no request as the kernel makes them."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. unique: its number, which the answer repeats; node: what it is about; body: the rest, unread."""

    opcode: int
    unique: int
    node: int
    body: bytes

    def name(self, skip: int = 0) -> bytes:
        """The one name in the body, after `skip` bytes."""
        return self.names(1, skip)[0]

    def names(self, count: int, skip: int = 0) -> list[bytes]:
        """The `count` names in the body, each of which ends in a zero byte. Raises MalformedError."""
        parts = self.body[skip:].split(b"\0")
        if len(parts) != count + 1 or parts[-1] or not all(parts[:-1]):
            raise MalformedError(f"request {self.opcode} has no {count} names")
        return parts[:-1]


def parse(data: bytes | memoryview) -> Request:
    """The request in what one read from the device gave. Raises MalformedError."""
    if len(data) < _HEADER.size:
        raise MalformedError(f"{len(data)} bytes are no request")
    length, opcode, unique, node, *_ = _HEADER.unpack_from(data)
    if length != len(data):
        raise MalformedError(f"a request of {length} bytes came as {len(data)}")
    return Request(opcode, unique, node, bytes(data[_HEADER.size :]))


def packed(opcode: int, unique: int, node: int, body: bytes = b"") -> bytes:
    """A request as the kernel writes it: for tests, which have no kernel."""
    return _HEADER.pack(_HEADER.size + len(body), opcode, unique, node, 0, 0, 0, 0, 0) + body


def answer(unique: int, size: int = 0, error: int = 0) -> bytes:
    """The head of an answer with `size` bytes behind it; error: an errno, with nothing behind it."""
    return _ANSWER.pack(_ANSWER.size + size, -error, unique)


def answered(data: bytes) -> tuple[int, int, bytes]:
    """An answer taken apart: its number, its errno, what is behind: for tests."""
    length, error, unique = _ANSWER.unpack_from(data)
    if length != len(data):
        raise MalformedError(f"an answer of {length} bytes came as {len(data)}")
    return unique, -error, data[_ANSWER.size :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What stat(2) says of a node. owner: user and group, as whoever mounted counts ids; times in seconds since 1970."""

    node: int
    mode: int
    size: int = 0
    modified_s: float = 0.0
    owner: int = 0
    links: int = 1

    def packed(self) -> bytes:
        seconds = max(0, int(self.modified_s))
        nanos = int((self.modified_s - seconds) * 1e9) if self.modified_s > 0 else 0
        blocks = -(-self.size // _BLOCK)
        return _ATTRIBUTES.pack(
            *(self.node, self.size, blocks, seconds, seconds, seconds),
            *(nanos, nanos, nanos, self.mode, self.links, self.owner, self.owner, 0, _PAGE, 0),
        )


def entry(attributes: Attributes, *, valid_s: float) -> bytes:
    """The answer to LOOKUP and whatever makes a node; valid_s: how long the kernel may remember it."""
    seconds, nanos = divmod(int(valid_s * 1e9), 10**9)
    return _ENTRY.pack(attributes.node, 0, seconds, seconds, nanos, nanos) + attributes.packed()


def stat(attributes: Attributes, *, valid_s: float) -> bytes:
    """The answer to GETATTR and SETATTR."""
    seconds, nanos = divmod(int(valid_s * 1e9), 10**9)
    return _STAT.pack(seconds, nanos, 0) + attributes.packed()


def opened(handle: int, flags: int = 0) -> bytes:
    """The answer to OPEN, and the end of that to CREATE."""
    return _OPENED.pack(handle, flags, 0)


def written(size: int) -> bytes:
    """The answer to WRITE."""
    return _WRITTEN.pack(size, 0)


def space(size: int) -> bytes:
    """The answer to STATFS for a file system that holds whatever comes."""
    blocks = size // _PAGE
    return _SPACE.pack(blocks, blocks, blocks, 1 << 32, 1 << 32, _PAGE, 255, _PAGE, 0)


def directory_entry(number: int, offset: int, name: bytes, *, folder: bool) -> bytes:
    """One name of a directory as READDIR gives it. offset: where the next one is asked for."""
    kind = 4 if folder else 8  # DT_DIR, DT_REG
    plain = _DIRENT.pack(number, offset, len(name), kind) + name
    return plain + bytes(-len(plain) % 8)


def greeting(body: bytes) -> bytes | None:
    """The answer to INIT; None where the kernel's protocol is too old."""
    major, minor, read_ahead, flags = _unpack(_INIT_IN, body)
    if major < MAJOR or (major == MAJOR and minor < MINOR):
        return None
    if major > MAJOR:
        # The kernel asks again, with ours.
        return _INIT_OUT.pack(MAJOR, MINOR, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    pages = WRITE_BYTES // _PAGE
    return _INIT_OUT.pack(MAJOR, MINOR, read_ahead, flags & _WANTED, 64, 48, WRITE_BYTES, 1, pages, 0, 0)


def packed_init(flags: int = _WANTED, minor: int = MINOR, major: int = MAJOR) -> bytes:
    """The body of INIT: for tests."""
    return _INIT_IN.pack(major, minor, 128 * 1024, flags)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Where READ and WRITE are about; of WRITE the bytes are what follows."""

    handle: int
    offset: int
    size: int


def transfer(request: Request) -> Transfer:
    """The place of a READ or WRITE."""
    handle, offset, size, *_ = _unpack(_TRANSFER, request.body)
    return Transfer(handle, offset, size)


def bytes_of(request: Request) -> memoryview:
    """What a WRITE brings."""
    return memoryview(request.body)[_TRANSFER.size :]


def packed_transfer(handle: int, offset: int, size: int) -> bytes:
    """The body of READ, and the head of that of WRITE: for tests."""
    return _TRANSFER.pack(handle, offset, size, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Change:
    """What SETATTR asks to change: `what` is a set of SET_*; handle: of an open file, None where a path was named."""

    what: int
    size: int
    owner: int
    group: int
    handle: int | None


def change(request: Request) -> Change:
    """What a SETATTR asks for."""
    fields = _unpack(_SET, request.body)
    what, _, handle, size = fields[:4]
    return Change(what, size, fields[13], fields[14], handle if what & _SET_HANDLE else None)


def packed_change(what: int, *, size: int = 0, handle: int | None = None, owner: int = 0) -> bytes:
    """The body of SETATTR: for tests."""
    what |= 0 if handle is None else _SET_HANDLE
    return _SET.pack(what, 0, handle or 0, size, 0, 0, 0, 0, 0, 0, 0, 0, 0, owner, owner, 0)


def stat_handle(request: Request) -> int | None:
    """The open file that a GETATTR is about, where it is about one."""
    flags, _, handle = _unpack(_GETATTR, request.body)
    return handle if flags & _GETATTR_HANDLE else None


def handle_of(request: Request) -> int:
    """The open file that RELEASE, FLUSH or FSYNC is about."""
    (handle,) = _unpack(_HANDLE, request.body)
    return int(handle)


def flags_of(request: Request) -> int:
    """The flags (open(2)) of OPEN and CREATE."""
    (flags,) = _unpack(_FLAGS, request.body)
    return int(flags)


def created_name(request: Request) -> bytes:
    """The name that CREATE or MKNOD makes; both have four numbers before it."""
    return request.name(_CREATE.size)


def made_mode(request: Request) -> int:
    """The mode of MKNOD, with the kind of file in it."""
    (mode,) = _unpack(_FLAGS, request.body)
    return int(mode)


def folder_name(request: Request) -> bytes:
    """The name that MKDIR makes."""
    return request.name(_MKDIR.size)


@dataclass(frozen=True, slots=True)
class Move:
    """What RENAME and RENAME2 ask for: to which folder, from which name to which, with which flags."""

    folder: int
    old: bytes
    new: bytes
    flags: int


def move(request: Request) -> Move:
    """What a RENAME or RENAME2 asks for."""
    if request.opcode == Opcode.RENAME2:
        folder, flags, _ = _unpack(_RENAME2, request.body)
        old, new = request.names(2, _RENAME2.size)
    else:
        (folder,), flags = _unpack(_HANDLE, request.body), 0
        old, new = request.names(2, _HANDLE.size)
    return Move(folder, old, new, flags)


def forgotten(request: Request) -> list[tuple[int, int]]:
    """Of which nodes how many look-ups are over, by FORGET or BATCH_FORGET."""
    if request.opcode == Opcode.FORGET:
        (count,) = _unpack(_HANDLE, request.body)
        return [(request.node, count)]
    many, _ = _unpack(_COUNT, request.body)
    rows = request.body[_COUNT.size :]
    if len(rows) != many * _PAIRS.size:
        raise MalformedError(f"{many} nodes to forget do not lie in {len(rows)} bytes")
    return [(node, count) for node, count in _PAIRS.iter_unpack(rows)]


def interrupted(request: Request) -> int:
    """The number of the request that nobody waits for any more."""
    return handle_of(request)


def _unpack(layout: struct.Struct, body: bytes) -> tuple[int, ...]:
    if len(body) < layout.size:
        raise MalformedError(f"{len(body)} bytes, where {layout.size} are needed")
    return layout.unpack_from(body)
