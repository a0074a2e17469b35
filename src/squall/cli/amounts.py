"""Amounts: ages and sizes, as people type and read them."""

import re
from typing import Final

from squall.model.errors import UsageError

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SIZES: Final = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate(("b", "kb", "mb", "gb", "tb"))},
    **{unit: 1024**power for power, unit in enumerate(("k", "m", "g", "t"), 1)},
    **{unit: 1024**power for power, unit in enumerate(("kib", "mib", "gib", "tib"), 1)},
}


def seconds_in(flag: str, text: str) -> float:
    """The seconds that `flag` says: "30s", "10m", "2h", "1d". Raises UsageError."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhdw]?)", text)
    if found is None:
        raise UsageError(f"{flag} {text!r} is no age", remedy="write 30s, 10m, 2h or 1d")
    return float(found[1]) * _UNITS_S[found[2] or "s"]


def bytes_in(flag: str, text: str) -> int:
    """The bytes that `flag` says: "500MB", "20GB", "20GiB". Raises UsageError."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)", text.strip().lower())
    if found is None or found[2] not in _SIZES:
        raise UsageError(f"{flag} {text!r} is no size", remedy="write 500MB, 20GB or 20GiB")
    return int(float(found[1]) * _SIZES[found[2]])


def size_text(count: float) -> str:
    """A number of bytes in three digits or so: "83.3 MiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
