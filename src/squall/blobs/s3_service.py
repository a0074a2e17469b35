"""S3 service: the requests that blobs need of a bucket, each with its errors named. Only this file knows obstore."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from squall import faults
from squall.blobs.blob_store import PART_BYTES
from squall.blobs.s3_address import S3Address
from squall.blobs.s3_errors import bucket_error
from squall.blobs.spool import HELD_BYTES
from squall.model.errors import BucketFailed, BucketMissing, FeatureUnavailable

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import S3Store

_PAGE: Final = 1000
_MOST_PARTS: Final = 10_000  # of one upload
_PARTS_AT_ONCE: Final = 2
_CONNECT_S: Final = 5
_SILENT_S: Final = 60  # a part of an upload must have left by then
_LONGEST_S: Final = 86_400  # of one request: a large blob on a slow line

_UPLOADING = faults.declare("s3.uploading", "parts of a large blob are on their way, and it has no name yet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An object as the service describes it. size in bytes; stored_s: seconds since 1970, by the service's clock."""

    key: str
    etag: str | None
    size: int
    stored_s: float


class Content(Protocol):
    """Bytes that wait to be put: how many, and in which parts."""

    @property
    def size(self) -> int: ...

    def parts(self) -> AsyncIterator[bytes]: ...


class Opened:
    """An object that is being read; what `found` says is so of the very bytes that come."""

    def __init__(self, service: S3Service, answer: GetResult) -> None:
        self._service = service
        self._answer = answer
        self.found = _found(answer.meta)

    async def parts(self) -> AsyncIterator[bytes]:
        with self._service.named():
            async for part in self._answer.stream(min_chunk_size=PART_BYTES):
                yield bytes(part)

    async def whole(self) -> bytes:
        with self._service.named():
            return bytes(await self._answer.bytes_async())


class S3Service:
    """A bucket by its keys. Raises FeatureUnavailable where the library is missing, and the Bucket errors.

    Requests that fail for a reason that may pass (no answer, a 5xx, slow down) are tried again by the library, for
    the address's patience.
    """

    def __init__(self, address: S3Address) -> None:
        self._address = address
        self._library = _library()
        with self.named():
            self._store: S3Store = self._library.store.S3Store(
                address.bucket,
                config=_config(address),
                client_options={
                    "allow_http": True,
                    "connect_timeout": timedelta(seconds=_CONNECT_S),
                    "read_timeout": timedelta(seconds=_SILENT_S),
                    "timeout": timedelta(seconds=_LONGEST_S),
                },
                retry_config={"retry_timeout": timedelta(seconds=address.patience_s)},
            )

    async def head(self, key: str) -> Found | None:
        """What the object is; None where there is none."""
        try:
            with self.named():
                return _found(await self._library.head_async(self._store, key))
        except FileNotFoundError:
            return None

    async def open(
        self, key: str, start: int = 0, stop: int | None = None, *, etag: str | None = None
    ) -> Opened | None:
        """The object, or a range of it; None where there is none. Raises EOFError where it ends before `start`.

        etag: BucketFailed with `answered` 412 where the object is another one.
        """
        span: tuple[int, int] | dict[str, int] = {"offset": start} if stop is None else (start, stop)
        options: dict[str, Any] | None = {"range": span} if start or stop is not None else None
        if etag is not None:
            options = {**(options or {}), "if_match": etag}
        try:
            with self.named():
                return Opened(self, await self._library.get_async(self._store, key, options=options))
        except FileNotFoundError:
            return None
        except BucketFailed as error:
            if error.details.get("answered") == "416":
                raise EOFError from None
            raise

    async def put(self, key: str, data: bytes, *, only_absent: bool = False) -> str | None:
        """Writes a small object in one request, and gives its ETag. Raises FileExistsError where only_absent forbids it."""
        with self.named():
            mode = "create" if only_absent else "overwrite"
            put = await self._library.put_async(self._store, key, data, mode=mode, use_multipart=False)
            etag: str | None = put["e_tag"]
            return etag

    async def put_parts(self, key: str, spool: Content) -> str | None:
        """Writes a large object in parts; it has its name once all of them are there."""
        part_bytes = max(HELD_BYTES, -(-spool.size // _MOST_PARTS))
        with self.named():
            put = await self._library.put_async(
                self._store,
                key,
                _leaving(spool),
                use_multipart=True,
                chunk_size=part_bytes,
                max_concurrency=_PARTS_AT_ONCE,
            )
            etag: str | None = put["e_tag"]
            return etag

    async def copy(self, key: str, to: str) -> None:
        with self.named():
            await self._library.copy_async(self._store, key, to)

    async def delete(self, keys: list[str]) -> None:
        """Removes objects, a thousand with one request; what is not there is no error."""
        if keys:
            with self.named():
                await self._library.delete_async(self._store, keys)

    async def folders(self, prefix: str) -> list[str]:
        """The names directly below `prefix` that further keys lie below."""
        with self.named():
            listed = await self._library.list_with_delimiter_async(self._store, prefix or None)
        return [name.rstrip("/").rpartition("/")[2] for name in listed["common_prefixes"]]

    async def listing(self, folder: str) -> tuple[list[str], list[Found]]:
        """What lies directly below a folder: the names of those below which further keys lie, and objects."""
        with self.named():
            listed = await self._library.list_with_delimiter_async(self._store, folder or None)
        names = [name.rstrip("/").rpartition("/")[2] for name in listed["common_prefixes"]]
        return names, [_found(meta) for meta in listed["objects"]]

    async def any_below(self, folder: str) -> bool:
        """Whether any key lies below a folder."""
        with self.named():
            async for page in self._library.list(self._store, prefix=folder or None, chunk_size=1):
                return bool(page)
        return False

    async def pages(self, folder: str) -> AsyncIterator[list[Found]]:
        """All objects below a folder, page by page."""
        with self.named():
            async for page in self._library.list(self._store, prefix=folder, chunk_size=_PAGE):
                yield [_found(meta) for meta in page]

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Raises what the library raises as a named error, but for an object that is missing or there already."""
        exceptions = self._library.exceptions
        try:
            yield
        except exceptions.AlreadyExistsError:
            raise FileExistsError from None
        except FileNotFoundError as error:
            if isinstance(named := self._error(error), BucketMissing):
                raise named from None
            raise FileNotFoundError from None
        except (exceptions.BaseError, ValueError) as error:
            # Not from it: the library's words hold whole requests.
            raise self._error(error) from None

    def _error(self, error: Exception) -> Exception:
        keys = self._address.keys
        return bucket_error(str(error), self._address.bucket, keys.secrets if keys else ())


async def _leaving(spool: Content) -> AsyncIterator[bytes]:
    async for part in spool.parts():
        yield part
        faults.point(_UPLOADING)


def _config(address: S3Address) -> dict[str, Any]:
    config: dict[str, Any] = {"virtual_hosted_style_request": address.virtual_hosted}
    if address.requester_pays:
        config["request_payer"] = True
    if address.anonymous:
        config["skip_signature"] = True
    if address.endpoint is not None:
        # Under both names: the second would otherwise come from the environment, and wins.
        config |= {"endpoint": address.endpoint, "aws_endpoint_url_s3": address.endpoint}
    if address.region is not None:
        config["region"] = address.region
    if address.keys is not None:
        config["access_key_id"] = address.keys.access_key_id
        config["secret_access_key"] = address.keys.secret_access_key
        if address.keys.session_token is not None:
            config["session_token"] = address.keys.session_token
    return config


def _found(meta: Any) -> Found:
    return Found(
        key=meta["path"],
        etag=meta["e_tag"],
        size=meta["size"],
        stored_s=meta["last_modified"].timestamp(),
    )


def leave(status: int) -> NoReturn:
    """End this process with `status`, without the interpreter's own end.

    A thread of the library may still be on its way out of a call into Python. Before 3.14 the interpreter ends such a thread as it
    ends itself, and the library, which cannot be unwound, aborts the process.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _library() -> Any:
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError:
        raise FeatureUnavailable(
            "blobs in a bucket need the package obstore, and it is not installed",
            remedy="install it: `pip install 'squall[s3]'`",
            feature="s3",
        ) from None
    return obstore
