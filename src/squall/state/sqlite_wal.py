"""SQLite WAL: tells a log that was cut by a crash from one that was damaged.

SQLite reads a log up to the first frame that is not whole, and takes it for the end, as it is after a crash. Whole
frames of the same log behind such a one say that it is not the end, and that commits would be dropped in silence.
Layouts are those of SQLite's page "WAL-mode File Format".
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Final

_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_MAGIC: Final = {0x377F0682: "<", 0x377F0683: ">"}  # and the byte order in which checksums were made
_RECOGNISED_AT: Final = 16  # in the index: how many frames the database has found whole
_MOST_CHECKED: Final = (
    4_000  # frames of the log's own time behind its end; a transaction that was cut may be long
)

Sums = tuple[int, int]


def wal_damage(database: Path) -> str:
    """What is wrong with the log beside a database that a connection has read; "" where nothing is."""
    log, index = Path(f"{database}-wal"), Path(f"{database}-shm")
    try:
        with log.open("rb") as file, index.open("rb") as known:
            known.seek(_RECOGNISED_AT)
            recognised = struct.unpack("=I", known.read(4))[0]
            return _damage(file, recognised)
    except (FileNotFoundError, struct.error):
        return ""  # no log: whoever had it last closed it in good order


def _damage(log: BinaryIO, recognised: int) -> str:
    header = log.read(_HEADER)
    if len(header) < _HEADER or not any(header):
        return ""
    magic, _, page, _ = struct.unpack(">4I", header[:16])
    order = _MAGIC.get(magic)
    if order is None or checksum(header[:24], (0, 0), order) != struct.unpack(">2I", header[24:]):
        return "the head of its log is damaged"
    salts, size = header[16:24], _FRAME_HEADER + page
    sums = _sums_of(log, recognised, size) if recognised else checksum(header[:24], (0, 0), order)
    log.seek(_HEADER + recognised * size)
    broken, checked = 0, 0
    for number, frame in enumerate(iter(lambda: log.read(size), b""), recognised + 1):
        if len(frame) < size or checked >= _MOST_CHECKED:
            break
        stored: Sums = struct.unpack(">2I", frame[16:24])
        ours = frame[8:16] == salts
        checked += ours
        summed = (ours or not broken) and stored == _summed(frame, sums, order)
        whole = ours and summed
        if not broken and ours != summed and any(frame[4:8]):
            return f"frame {number} of its log ends a commit and is damaged"
        if whole and broken:
            return f"frame {broken} of its log is damaged, and whole ones follow it"
        broken = broken or (0 if whole else number)
        sums = stored
    return ""


def _summed(frame: bytes, sums: Sums, order: str) -> Sums:
    """The sums that a frame should carry after one that carries `sums`; its salts are not part of them."""
    return checksum(frame[_FRAME_HEADER:], checksum(frame[:8], sums, order), order)


def checksum(data: bytes, sums: Sums, order: str) -> Sums:
    """SQLite's running sums over `data`, eight bytes at a time; order: "<" or ">"."""
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for place in range(0, len(words), 2):
        first = (first + words[place] + second) & 0xFFFFFFFF
        second = (second + words[place + 1] + first) & 0xFFFFFFFF
    return first, second


def _sums_of(log: BinaryIO, number: int, size: int) -> Sums:
    """The sums that the frame of this number, counted from 1, carries."""
    log.seek(_HEADER + (number - 1) * size + 16)
    found: Sums = struct.unpack(">2I", log.read(8))
    return found
