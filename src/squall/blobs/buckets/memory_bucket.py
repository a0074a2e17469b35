"""Memory bucket: a bucket in a dict, for tests and to compare with."""

from __future__ import annotations

import hashlib
import time

from squall.blobs.buckets.bucket import Listing, Object, ObjectChangedError
from squall.blobs.s3_service import Content


class MemoryBucket:
    """A Bucket. objects: bytes by key; failing: what every request raises, if anything."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.failing: Exception | None = None
        self.requests: list[str] = []
        self._stored: dict[str, float] = {}
        self._etags: dict[str, str] = {}

    async def head(self, key: str) -> Object | None:
        self._asked("head")
        return self._object(key) if key in self.objects else None

    async def listing(self, folder: str) -> Listing:
        self._asked("listing")
        start = f"{folder}/" if folder else ""
        folders: set[str] = set()
        objects: dict[str, Object] = {}
        for key in self.objects:
            if not key.startswith(start):
                continue
            name, slash, _ = key[len(start) :].partition("/")
            if slash:
                folders.add(name)
            else:
                objects[name] = self._object(key)
        return Listing(folders=frozenset(folders), objects=objects)

    async def any_below(self, folder: str) -> bool:
        self._asked("any_below")
        start = f"{folder}/" if folder else ""
        return any(key.startswith(start) for key in self.objects)

    async def read(self, key: str, start: int, stop: int, etag: str | None) -> bytes:
        self._asked("read")
        if key not in self.objects or (etag is not None and self._object(key).etag != etag):
            raise ObjectChangedError
        return self.objects[key][start:stop]

    async def put(self, key: str, content: Content) -> Object:
        self._asked("put")
        self.objects[key] = b"".join([part async for part in content.parts()])
        self._stored[key] = time.time()
        self.see_anew(key)
        return self._object(key)

    async def copy(self, key: str, to: str) -> None:
        self._asked("copy")
        if key not in self.objects:
            raise FileNotFoundError(key)
        self.objects[to] = self.objects[key]
        self._stored[to] = time.time()
        self.see_anew(to)

    async def delete(self, key: str) -> None:
        self._asked("delete")
        self.objects.pop(key, None)

    def see_anew(self, key: str) -> None:
        """Somebody has put another object there."""
        self._etags.pop(key, None)

    def _object(self, key: str) -> Object:
        data = self.objects[key]
        etag = self._etags.get(key) or self._etags.setdefault(key, hashlib.sha256(data).hexdigest())
        return Object(size=len(data), stored_s=self._stored.get(key, 0.0), etag=etag)

    def _asked(self, what: str) -> None:
        self.requests.append(what)
        if self.failing is not None:
            raise self.failing
