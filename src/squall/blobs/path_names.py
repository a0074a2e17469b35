"""Path names: the names along a path of a manifest, as the kernel gets them."""

from __future__ import annotations

from typing import Final

from squall.model.errors import TreeInvalid

MAX_NAME_BYTES: Final = 255
MAX_PATH_BYTES: Final = (
    4000  # the kernel takes 4095 from "/" on: this leaves room for where a directory is mounted
)
MAX_DEPTH: Final = 128  # a checkout holds one descriptor for each level

_NO_NAMES: Final = frozenset({b"", b".", b".."})


def names_in(path: str) -> tuple[bytes, ...]:
    """The names along a relative path. Raises TreeInvalid for what a manifest cannot hold."""
    whole = encoded(path)
    names = tuple(whole.split(b"/"))
    wrong = _wrong_with(whole, names)
    if wrong:
        raise TreeInvalid(f"{path[:200]!r} cannot be part of a tree: {wrong}", path=path[:200])
    return names


def encoded(text: str) -> bytes:
    """A name or target. Raises TreeInvalid."""
    try:
        # Names on Linux are bytes: those that are no UTF-8 come and go as surrogates.
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise TreeInvalid(f"{text[:200]!r} cannot be a name on disk") from error


def _wrong_with(whole: bytes, names: tuple[bytes, ...]) -> str:
    """Why no manifest can hold this path; empty when it can."""
    if b"\0" in whole:
        return "it has a NUL in it"
    if whole.startswith(b"/"):
        return "it is absolute"
    if not _NO_NAMES.isdisjoint(names):
        return "it has an empty name, '.' or '..' in it"
    if len(whole) > MAX_NAME_BYTES and any(len(name) > MAX_NAME_BYTES for name in names):
        return f"a name in it is longer than {MAX_NAME_BYTES} bytes"
    if len(whole) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    return f"it is deeper than {MAX_DEPTH} directories" if len(names) > MAX_DEPTH else ""
