"""Bucket: the requests that a file system makes of one, and what it knows of an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from squall.blobs.s3_service import Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """An object as its bucket describes it. size in bytes; stored_s: seconds since 1970, by the service's clock."""

    size: int
    stored_s: float
    etag: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What lies directly below a folder, by name."""

    folders: frozenset[str]
    objects: dict[str, Object]


class ObjectChangedError(Exception):
    """The object is another one than it was when it was opened."""


class Bucket(Protocol):
    """A bucket by its keys. Raises the Bucket errors; what is not there is None or nothing, never an error."""

    async def head(self, key: str) -> Object | None:
        """What the object is."""
        ...

    async def listing(self, folder: str) -> Listing:
        """All that lies directly below `folder`, which is "" for the whole bucket."""
        ...

    async def any_below(self, folder: str) -> bool:
        """Whether any key begins with `folder` and a slash."""
        ...

    async def read(self, key: str, start: int, stop: int, etag: str | None) -> bytes:
        """These bytes of the object, fewer where it ends before. Raises ObjectChangedError, also where it is gone."""
        ...

    async def put(self, key: str, content: Content) -> Object:
        """Writes the object as a whole: until then whatever was there stays."""
        ...

    async def copy(self, key: str, to: str) -> None:
        """Makes `to` the same object. Raises FileNotFoundError."""
        ...

    async def delete(self, key: str) -> None:
        """Removes the object."""
        ...
