"""Digest: the name of bytes, their sha256 in 64 hexadecimal digits."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NewType

from squall.model.errors import DigestMismatch

Digest = NewType("Digest", str)
Bytes = bytes | bytearray | memoryview

_DIGEST: Final = re.compile("[0-9a-f]{64}")


class Hashed(bytes):
    """Bytes that know their digest, made here of these very bytes: whoever passes them on need not make it again."""

    digest: Digest

    @classmethod
    def of(cls, data: Bytes) -> Hashed:
        """These bytes, with their digest."""
        hashed = cls(data)
        hashed.digest = digest_of(data)
        return hashed


def digest_of(data: Bytes) -> Digest:
    """The digest of these bytes."""
    return data.digest if isinstance(data, Hashed) else Digest(hashlib.sha256(data).hexdigest())


def is_digest(text: str) -> bool:
    """Whether `text` has the shape of a digest: what comes from outside is checked before it names a path."""
    return _DIGEST.fullmatch(text) is not None


def parse_digest(text: str) -> Digest:
    """`text` as a digest. Raises ValueError when it is none."""
    if not is_digest(text):
        raise ValueError(f"a digest has 64 hexadecimal digits, in small letters: {text[:80]!r}")
    return Digest(text)


def agree(digest: Digest, announced: Digest | None) -> None:
    """Raises DigestMismatch when the bytes that arrived are not those that were announced."""
    if announced is not None and digest != announced:
        raise DigestMismatch(
            f"bytes were announced as {announced}, and those that came are {digest}",
            announced=announced,
            arrived=digest,
        )


class Digester:
    """The digest of bytes that come in parts."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self.size = 0

    def update(self, part: Bytes) -> None:
        self._sum.update(part)
        self.size += len(part) if not isinstance(part, memoryview) else part.nbytes

    def digest(self) -> Digest:
        """The digest of all parts so far."""
        return Digest(self._sum.hexdigest())
