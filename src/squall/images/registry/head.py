"""Head: the part of an HTTP message that comes before its body, written and read. Pure."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MOST_HEADERS: Final = 128
LONGEST_HEAD: Final = 65_536  # bytes

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_NUMBER = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_NEXT = re.compile(r'\s*<([^<>]{1,4096})>\s*;(?:[^,]*;)?\s*rel="?next"?\s*(?:[;,]|\Z)')

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer; names in small letters, each with its values in their order."""

    status: int
    headers: tuple[tuple[str, str], ...]

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a header."""
        return tuple(value for key, value in self.headers if key == name)

    def get(self, name: str) -> str | None:
        """The first value of a header."""
        return next(iter(self.all(name)), None)


@dataclass(frozen=True, slots=True)
class Sized:
    """A body of so many bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Chunked:
    """A body in chunks, each with its size before it."""


@dataclass(frozen=True, slots=True)
class UntilClosed:
    """A body that ends with its connection, so that a cut one looks whole: only its digest or its form can tell."""


Body = Sized | Chunked | UntilClosed


def write_head(method: str, target: str, headers: Headers) -> bytes:
    """A request's head. Raises ValueError for a line break, or anything else that would say something not meant."""
    lines = [f"{method} {target} HTTP/1.1"]
    if not re.fullmatch(r"[\x21-\x7e]+", target):
        raise ValueError("a target that no request may have")
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"a header {name!a} that no request may have")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def read_head(data: bytes) -> Head:
    """The head of an answer, its empty line included. Raises ValueError, which says what is wrong with it."""
    first, *lines = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise ValueError("its first line is not HTTP/1.1's")
    if len(lines) > MOST_HEADERS:
        raise ValueError(f"it has {len(lines)} headers, and may have {MOST_HEADERS}")
    headers = []
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError("it has a line that is no header")
        headers.append((name.lower(), value.strip(" \t")))
    return Head(int(status[1]), tuple(headers))


def body_of(method: str, head: Head) -> Body:
    """What body follows. Raises ValueError where two headers contradict each other, or it is packed in a way not asked for."""
    if method == "HEAD" or head.status in {204, 304}:
        return Sized(0)
    if any(value.lower() != "identity" for value in head.all("content-encoding")):
        raise ValueError("its body is compressed, which was not asked for")
    coded, lengths = head.all("transfer-encoding"), frozenset(head.all("content-length"))
    if coded:
        if lengths or len(coded) > 1 or coded[0].lower() != "chunked":
            raise ValueError("it says in two ways how long its body is, or in one that is not known")
        return Chunked()
    if not lengths:
        return UntilClosed()
    length = min(lengths)
    if len(lengths) > 1 or not _NUMBER.fullmatch(length):
        raise ValueError("its Content-Length is no single number")
    return Sized(int(length))


def length_of(head: Head) -> int | None:
    """The number in Content-Length, which an answer to HEAD says of the body that it leaves out."""
    said = head.get("content-length")
    return int(said) if said is not None and _NUMBER.fullmatch(said) else None


def range_start(head: Head) -> int | None:
    """Where the part in a 206 begins, or None where its Content-Range says nothing usable."""
    said = _RANGE.fullmatch(head.get("content-range") or "")
    return int(said[1]) if said is not None else None


def retry_after_s(head: Head, now_s: float) -> float | None:
    """The seconds that Retry-After asks to wait, at least 0, or None. now_s: seconds since 1970."""
    said = head.get("retry-after")
    if said is None:
        return None
    if _NUMBER.fullmatch(said):
        return float(said)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - now_s)
    except (ValueError, OverflowError):
        return None


def next_page(head: Head) -> str | None:
    """The address of a list's next page, from its Link header."""
    return next((found[1] for value in head.all("link") if (found := _NEXT.match(value))), None)


def media_type(head: Head) -> str:
    """The Content-Type without its parameters, in small letters; empty where there is none."""
    return (head.get("content-type") or "").partition(";")[0].strip().lower()
