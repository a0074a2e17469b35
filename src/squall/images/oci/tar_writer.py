"""Tar writer: an entry as the bytes of an archive, the same ones always, with PAX records where a header is too small."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from squall.images.oci.tar_member import BLOCK, XATTR_KEY, Kind, Member, padding

END: Final = bytes(2 * BLOCK)  # what an archive ends with

_MAX_NAME_BYTES: Final = 100
_MAX_SIZE: Final = (1 << 33) - 1  # what eleven octal digits say
_MAX_TIME: Final = (1 << 33) - 1
_MAX_OWNER: Final = (1 << 21) - 1
_NS: Final = 1_000_000_000


def head(member: Member) -> bytes:
    """What stands before the bytes of an entry: its header, and PAX records before that where it needs them.

    Directories have a slash behind their name. Names of 100 bytes or less stand in the header as they are, whatever
    bytes they are made of.
    """
    name = member.name + (b"/" if member.kind is Kind.DIRECTORY else b"")
    seconds = member.mtime_ns // _NS
    fits = member.mtime_ns % _NS == 0 and 0 <= seconds <= _MAX_TIME
    records = {
        b"path": name if len(name) > _MAX_NAME_BYTES else b"",
        b"linkpath": member.target if len(member.target) > _MAX_NAME_BYTES else b"",
        b"size": b"%d" % member.size if member.size > _MAX_SIZE else b"",
        b"uid": b"%d" % member.uid if member.uid > _MAX_OWNER else b"",
        b"gid": b"%d" % member.gid if member.gid > _MAX_OWNER else b"",
        b"mtime": b"" if fits else _time(member.mtime_ns),
    }
    wanted = [(key, value) for key, value in records.items() if value]
    if any(not _is_text(value) for key, value in wanted if key in {b"path", b"linkpath"}):
        wanted.append((b"hdrcharset", b"BINARY"))
    wanted += [(XATTR_KEY + key, value) for key, value in member.xattrs]
    before = _records(wanted) if wanted else b""
    return before + _header(
        member.kind.value,
        name,
        target=member.target,
        numbers=(
            member.mode,
            member.uid if member.uid <= _MAX_OWNER else 0,
            member.gid if member.gid <= _MAX_OWNER else 0,
            member.size if member.size <= _MAX_SIZE else 0,
            min(max(seconds, 0), _MAX_TIME),
        ),
    )


def _records(wanted: Iterable[tuple[bytes, bytes]]) -> bytes:
    data = b"".join(_record(key, value) for key, value in sorted(wanted))
    header = _header(b"x", b"PaxHeaders", target=b"", numbers=(0o644, 0, 0, len(data), 0))
    return header + data + bytes(padding(len(data)))


def _record(key: bytes, value: bytes) -> bytes:
    """A record begins with its length, which counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _header(letter: bytes, name: bytes, *, target: bytes, numbers: tuple[int, int, int, int, int]) -> bytes:
    mode, uid, gid, size, mtime = numbers
    fields = (
        name[:_MAX_NAME_BYTES].ljust(100, b"\0"),
        b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime),
        b" " * 8,  # the checksum, which counts itself as spaces
        letter,
        target[:_MAX_NAME_BYTES].ljust(100, b"\0"),
        b"ustar\x0000",
        bytes(32 + 32),  # names of owner and group: of this machine, not of the layer
        b"%07o\0%07o\0" % (0, 0),
        bytes(155 + 12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _time(mtime_ns: int) -> bytes:
    seconds, ns = divmod(abs(mtime_ns), _NS)
    fraction = (b".%09d" % ns).rstrip(b"0") if ns else b""
    return (b"-" if mtime_ns < 0 else b"") + b"%d" % seconds + fraction


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
