"""S3 bucket: a bucket of a real service, through the client that blobs use too."""

from __future__ import annotations

import posixpath
from typing import Final

from squall.blobs.buckets.bucket import Listing, Object, ObjectChangedError
from squall.blobs.s3_address import S3Address
from squall.blobs.s3_service import Content, Found, S3Service
from squall.model.errors import BucketFailed

_WHOLE: Final = 8 << 20  # what is put with one request; more goes in parts


class S3Bucket:
    """A Bucket at an address, whose own prefix stays empty."""

    def __init__(self, address: S3Address) -> None:
        self._service = S3Service(address)

    async def head(self, key: str) -> Object | None:
        found = await self._service.head(key)
        return None if found is None else _object(found)

    async def listing(self, folder: str) -> Listing:
        folders, found = await self._service.listing(folder)
        return Listing(
            folders=frozenset(folders),
            objects={posixpath.basename(one.key): _object(one) for one in found if one.key != folder},
        )

    async def any_below(self, folder: str) -> bool:
        return await self._service.any_below(folder)

    async def read(self, key: str, start: int, stop: int, etag: str | None) -> bytes:
        try:
            opened = await self._service.open(key, start, stop, etag=etag)
            if opened is None:
                raise ObjectChangedError
            return await opened.whole()
        except EOFError:
            return b""
        except BucketFailed as error:
            if error.details.get("answered") == "412":
                raise ObjectChangedError from None
            raise

    async def put(self, key: str, content: Content) -> Object:
        if content.size <= _WHOLE:
            data = b"".join([part async for part in content.parts()])
            await self._service.put(key, data)
        else:
            await self._service.put_parts(key, content)
        found = await self.head(key)
        return Object(size=content.size, stored_s=0.0, etag=None) if found is None else found

    async def copy(self, key: str, to: str) -> None:
        await self._service.copy(key, to)

    async def delete(self, key: str) -> None:
        await self._service.delete([key])


def _object(found: Found) -> Object:
    return Object(size=found.size, stored_s=found.stored_s, etag=found.etag)
