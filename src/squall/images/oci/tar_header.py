"""Tar header: what one block and the records before it say of an entry, in the three forms that archives have."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from squall.images.oci.tar_member import BLOCK, XATTR_KEY, Kind, Member, shown
from squall.model.errors import LayerInvalid

MAX_SIZE: Final = 1 << 50  # no file is larger, and no number of ours overflows

_ZEROS: Final = bytes(BLOCK)
RECORDS: Final = b"x"
GLOBAL: Final = b"g"
LONG_NAME: Final = b"L"
LONG_TARGET: Final = b"K"
EXTENSIONS: Final = frozenset({RECORDS, GLOBAL, LONG_NAME, LONG_TARGET})

# Mode, owner, group, size and time as nearly all programs write them.
_NUMBERS: Final = re.compile(rb"([0-7]{7})\0([0-7]{7})\0([0-7]{7})\0([0-7]{11})\0([0-7]{11})\0")
_CHECKSUM: Final = slice(148, 156)
_PREFIX: Final = slice(345, 500)
_SHORT_PREFIX: Final = slice(345, 476)
_KINDS: Final = {kind.value: kind for kind in Kind} | {
    b"7": Kind.FILE
}  # 7: a file that lies in one piece on its disk
_LENGTH: Final = re.compile(rb"[1-9][0-9]{0,9}")
_DECIMAL: Final = re.compile(rb"(-?)([0-9]{1,19})(?:\.([0-9]*))?")
_WHOLE: Final = re.compile(rb"-?[0-9]{1,19}")

# What the records say of an entry; readers differ on what else may mean.
_MEANT: Final = frozenset({b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"})


class Header(NamedTuple):
    """One block of an archive. letter: what the entry is. name and target: whole only where no record says another."""

    letter: bytes
    name: bytes
    target: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int


class Extension(NamedTuple):
    """A block of an archive behind which more is told of the next entry, in so many bytes. What else it says has no meaning."""

    letter: bytes
    size: int


def is_end(block: bytes) -> bool:
    """Whether a block of 512 bytes is one of zeros, of which two end an archive."""
    return block == _ZEROS


def read_extension(block: bytes) -> Extension | None:
    """What a block says if it is of that kind. Raises LayerInvalid."""
    letter = block[156:157]
    if letter not in EXTENSIONS:
        return None
    _check(block)
    return Extension(letter, _size(_number(block[124:136], "size", b""), b""))


def read_header(block: bytes) -> Header | None:
    """What a block of 512 bytes says; None for one of zeros. Raises LayerInvalid, with the entry's name if it has one."""
    if is_end(block):
        return None
    _check(block)
    name = _until_nul(block[:100])
    if block[257:263] == b"ustar\0":
        # One old program keeps times behind a shorter prefix, and says so at the end.
        prefix = _until_nul(block[_PREFIX] if block[508:512] != b"tar\0" else block[_SHORT_PREFIX])
        name = prefix + b"/" + name if prefix else name
    mode, uid, gid, size, mtime = _numbers(block, name)
    return Header(
        letter=block[156:157],
        name=name,
        target=_until_nul(block[157:257]),
        mode=mode & 0o7777,
        uid=uid,
        gid=gid,
        mtime=mtime,
        size=_size(size, name),
    )


def read_records(data: bytes) -> dict[bytes, bytes]:
    """PAX records, the last one of each key. Raises LayerInvalid."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 11)
        length = data[at:space] if space > 0 else b""
        end = at + int(length) if _LENGTH.fullmatch(length) else -1
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not space < end <= len(data) or data[end - 1 : end] != b"\n" or not key or not equals:
            raise LayerInvalid("an extended header of the archive is damaged")
        found[key] = value
        at = end
    return found


def check_global(records: Mapping[bytes, bytes]) -> None:
    """Raises LayerInvalid for records that would change every entry from here on: readers differ on them."""
    for key in records:
        if key in _MEANT or key.startswith((XATTR_KEY, b"GNU.sparse.")):
            raise LayerInvalid(
                f"a global header of the archive says {shown(key)} of all entries at once: "
                "other programs read such an archive in different ways"
            )


def member_of(header: Header, records: Mapping[bytes, bytes]) -> Member:
    """The entry that a header and the records before it say. Raises LayerInvalid, naming it."""
    name = records.get(b"path") or header.name
    plain = _MEANT.issuperset(records)
    if header.letter == b"S" or (not plain and any(key.startswith(b"GNU.sparse.") for key in records)):
        raise LayerInvalid(
            f"{shown(name)} is stored as a sparse file, in a form of GNU tar that no layer has",
            remedy="make the archive again without --sparse",
            entry=shown(name),
        )
    kind = _kind(header, name)
    size = header.size
    if said := records.get(b"size"):
        size = _size(_whole(said, "size", name), name)
    return Member(
        kind=kind,
        name=name,
        target=records.get(b"linkpath") or header.target,
        mode=header.mode,
        uid=_whole(said, "owner", name) if (said := records.get(b"uid")) else header.uid,
        gid=_whole(said, "group", name) if (said := records.get(b"gid")) else header.gid,
        mtime_ns=_time_ns(said, name) if (said := records.get(b"mtime")) else header.mtime * 1_000_000_000,
        # Whatever else says a size has no bytes behind it.
        size=size if kind is Kind.FILE else 0,
        xattrs=() if plain else _xattrs(records),
    )


def _xattrs(records: Mapping[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(
        (key.removeprefix(XATTR_KEY), value) for key, value in records.items() if key.startswith(XATTR_KEY)
    )


def _kind(header: Header, name: bytes) -> Kind:
    if header.letter == b"\0":
        return Kind.DIRECTORY if name.endswith(b"/") else Kind.FILE
    kind = _KINDS.get(header.letter)
    if kind is None:
        raise LayerInvalid(
            f"{shown(name)} is of the kind {header.letter!r}, which no layer has", entry=shown(name)
        )
    return kind


def _check(block: bytes) -> None:
    said = block[_CHECKSUM].strip(b" \0")
    if said.strip(b"01234567") or not _is_checksum(int(said or b"0", 8), block):
        raise LayerInvalid("this is no tar archive, or it is damaged: the checksum of a header is wrong")


def _is_checksum(said: int, block: bytes) -> bool:
    """Whether this is the sum of all bytes, with its own field read as spaces; or as some old programs wrote it, of signed ones."""
    field = block[_CHECKSUM]
    # The lower half of this checksum is one more than the sum of the bytes, as long as that is below 65,521: it is much faster.
    total = (zlib.adler32(block[:256]) & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF) - 2
    if said == total - sum(field) + 8 * 0x20:
        return True
    counted = block[: _CHECKSUM.start] + block[_CHECKSUM.stop :]
    return said == sum(counted) + 8 * 0x20 - 256 * sum(byte > 127 for byte in counted)


def _until_nul(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _numbers(block: bytes, name: bytes) -> tuple[int, int, int, int, int]:
    """Mode, owner, group, size and time. Raises LayerInvalid."""
    if usual := _NUMBERS.match(block, 100):
        mode, uid, gid, size, mtime = usual.groups()
        return int(mode, 8), int(uid, 8), int(gid, 8), int(size, 8), int(mtime, 8)
    return (
        _number(block[100:108], "mode", name),
        _number(block[108:116], "owner", name),
        _number(block[116:124], "group", name),
        _number(block[124:136], "size", name),
        _number(block[136:148], "time", name),
    )


def _number(field: bytes, what: str, name: bytes) -> int:
    """A number of a header: octal digits, or for large ones and those below zero its two's complement."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=False) & ((1 << (8 * len(field) - 1)) - 1)
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    digits = field.rstrip(b"\0 ").lstrip(b" ")
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise LayerInvalid(f"the {what} of {shown(name)} is no number", entry=shown(name))
    return int(digits, 8)


def _whole(said: bytes, what: str, name: bytes) -> int:
    if not _WHOLE.fullmatch(said):
        raise LayerInvalid(f"the {what} of {shown(name)} is no number", entry=shown(name))
    return int(said)


def _size(size: int, name: bytes) -> int:
    if not 0 <= size <= MAX_SIZE:
        raise LayerInvalid(f"no file has the size of {shown(name)}: {size} bytes", entry=shown(name))
    return size


def _time_ns(said: bytes, name: bytes) -> int:
    parts = _DECIMAL.fullmatch(said)
    if parts is None:
        raise LayerInvalid(f"the time of {shown(name)} is no number", entry=shown(name))
    sign, seconds, fraction = parts.groups()
    ns = int(seconds) * 1_000_000_000 + int(((fraction or b"") + b"0" * 9)[:9])
    return -ns if sign else ns
