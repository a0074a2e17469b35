"""Shared object: what a Dict and a Queue have in common, which is how they are found, made, held and removed."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

from squall.context.fresh import fresh_id
from squall.model.errors import ConnectionLost, Error, InvalidError, SharedValueTooLarge
from squall.model.shared import (
    MAIN,
    MOST_AT_ONCE,
    MOST_BYTES_AT_ONCE,
    MOST_VALUE_BYTES,
    SharedKind,
    check_name,
)
from squall.sdk.blocking import run_blocking, run_here
from squall.sdk.client import Client
from squall.sdk.face import Face
from squall.sdk.lanes import ask
from squall.wire.codec import Frame, Kind
from squall.wire.payload import pack_many, unpack_many
from squall.wire.session import Session
from squall.wire.stream import Stream

O = TypeVar("O", bound="SharedObject")  # noqa: E741 - an object
T = TypeVar("T")


class SharedObject:
    """A handle of a Dict or a Queue by its name, or by the id of one that has none. It is looked for when it is first used."""

    _kind: ClassVar[SharedKind]

    def __init__(
        self, name: str | None = None, *, create: bool = False, object_id: str | None = None
    ) -> None:
        self.name = name
        self._create = create
        self._id = object_id

    def __repr__(self) -> str:
        return f"{self._kind.word}({self.name or self._id!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Its name is all that travels, or its id where it has none."""
        return _handle, (type(self), self.name, self._create, None if self.name else self._id)

    async def _of(self) -> dict[str, Any]:
        """The head that names it. Raises SharedNotFound."""
        if self._id is None:
            head = {"kind": str(self._kind), "name": self.name, "create": self._create}
            self._id = str((await ask("shared.find", head)).head()["id"])
        return {"of": self._id}

    @classmethod
    def from_name(
        cls,
        name: str,
        create_if_missing: bool = False,  # noqa: FBT001, FBT002 - as users know it
        *,
        environment_name: str | None = None,
    ) -> Self:
        """The one of this name. It is looked for when it is first used, and then made where it may be and is missing.

        name: letters, digits and `._-`, 64 at most. Raises SharedNameInvalid; what is done first raises SharedNotFound.
        """
        check_environment(environment_name)
        return cls(check_name(name, f"a {cls._kind.word}"), create=create_if_missing)

    @classmethod
    def ephemeral(cls, *, environment_name: str | None = None) -> Ephemeral[Self]:
        """One without a name, for `with` or `async with`; it ends with that, and where this program ends, 10 s later.

        It may be passed to functions meanwhile.
        """
        check_environment(environment_name)
        return Ephemeral(
            "shared.ephemeral",
            {"kind": str(cls._kind)},
            prefix=cls._kind.prefix,
            handle=lambda of: cls(object_id=of),
        )


def _handle(cls: type[O], name: str | None, create: bool, object_id: str | None) -> O:  # noqa: FBT001 - as `__reduce__` says it
    return cls(name, create=create, object_id=object_id)


def check_environment(name: str | None) -> None:
    """Raises InvalidError for an environment that is none."""
    if name not in {None, MAIN}:
        raise InvalidError(
            f"there is no environment {name!r:.90}: so far {MAIN!r} is the only one",
            remedy="leave `environment_name` out",
        )


class Ephemeral(Generic[T]):
    """An object without a name for as long as a `with` (or `async with`) lasts.

    message, head: what has it made, with an id of this prefix. handle: what users get of it.
    """

    rank = 0

    def __init__(
        self, message: str, head: dict[str, Any], *, prefix: str, handle: Callable[[str], T]
    ) -> None:
        self._message = message
        self._head = head
        self._prefix = prefix
        self._handle = handle
        self._client: Client | None = None
        self._id = ""
        self._stream: Stream | None = None
        self._opened: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] | None = None

    def __enter__(self) -> T:
        return run_blocking(self._open())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run_blocking(self._close())

    async def __aenter__(self) -> T:
        return await run_here(self._open())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await run_here(self._close())

    def attach(self, session: Session) -> None:
        """See Lasting."""
        head = {**self._head, "id": self._id}
        self._stream = session.open(self._message, head, on_frame=self._on_frame)

    def give_up(self, error: Error) -> None:
        """See Lasting."""
        self._fail(error)

    async def _open(self) -> T:
        self._client = Client.here()
        self._id = fresh_id(self._prefix)
        self._opened = asyncio.get_running_loop().create_future()
        self._client.add(self)
        try:
            await self._opened
        except BaseException:
            self._client.remove(self)
            raise
        return self._handle(self._id)

    async def _close(self) -> None:
        assert self._client is not None
        self._client.remove(self)
        if self._stream is not None and self._stream.live:
            self._closed = asyncio.get_running_loop().create_future()
            self._stream.end()
            await self._closed

    def _on_frame(self, frame: Frame) -> None:
        if frame.kind is Kind.DATA:
            _settle(self._opened)
        elif frame.kind is Kind.FAIL:
            error = Error.from_wire(frame.head())
            if not isinstance(error, ConnectionLost):
                self._fail(error)
        if frame.kind in (Kind.END, Kind.FAIL):
            _settle(self._closed)

    def _fail(self, error: Error) -> None:
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedInfo:
    """What there is. entries: keys of a Dict, or items of a Queue in all its partitions; created_s: in seconds since 1970.

    waiting_gets, waiting_puts: how many wait there for items, and for room.
    """

    name: str
    created_s: float
    entries: int
    size_bytes: int
    partitions: int = 0
    waiting_gets: int = 0
    waiting_puts: int = 0


class Objects(Generic[O]):
    """The Dicts, or the Queues, that there are: `create(name)`, `list()`, `delete(name)`, each with `.aio`."""

    def __init__(self, cls: type[O]) -> None:
        self._cls = cls
        self.create = Face(self._create)
        self.list = Face(self._list)
        self.delete = Face(self._delete)

    async def _create(self, name: str, *, environment_name: str | None = None) -> O:
        """The one of this name, made where there is none. Raises SharedNameInvalid, ResourceExhaustedError."""
        made = self._cls.from_name(name, create_if_missing=True, environment_name=environment_name)
        await made._of()
        return made

    async def _list(self, *, environment_name: str | None = None) -> list[SharedInfo]:
        """Each that has a name, by its name."""
        check_environment(environment_name)
        frame = await ask("shared.list", {"kind": str(self._cls._kind)})
        return [
            SharedInfo(
                name=row["name"],
                created_s=row["created_s"],
                entries=row["len"],
                size_bytes=row["bytes"],
                partitions=row["partitions"],
                waiting_gets=row["waiting"]["items"],
                waiting_puts=row["waiting"]["room"],
            )
            for row in json.loads(bytes(frame.payload))
        ]

    async def _delete(
        self, name: str, *, allow_missing: bool = False, environment_name: str | None = None
    ) -> None:
        """Removes one with all that it holds. Raises SharedNotFound."""
        check_environment(environment_name)
        kind = self._cls._kind
        head = {"kind": str(kind), "name": check_name(name, f"a {kind.word}")}
        try:
            await ask("shared.delete", head)
        except Error as problem:
            if not allow_missing or problem.code != "SQ-1930":
                raise


def seconds(value: Any, what: str) -> float:
    """A time in seconds, as float. Raises InvalidError that names it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise InvalidError(f"{what}={value!r:.90} is no time in seconds", remedy=f"write a number, as {what}=30")


def packed(values: Iterable[Any]) -> list[bytes]:
    """Values as bytes. Raises SerializationError, SharedValueTooLarge."""
    many = pack_many(list(values))
    found, at = [], 0
    for size in many.lengths:
        if size > MOST_VALUE_BYTES:
            raise SharedValueTooLarge(
                f"a value of {size} bytes, and at most {MOST_VALUE_BYTES} may be",
                size_bytes=size,
                limit_bytes=MOST_VALUE_BYTES,
            )
        found.append(many.buffer[at : at + size])
        at += size
    return found


def unpacked(data: bytes) -> Any:
    """The value that was packed. Raises DeserializationError."""
    return unpack_many(data, [len(data)])[0]


def parts_of(frame: Frame, *lengths: Sequence[int]) -> list[list[bytes]]:
    """What a frame holds, one part behind the other, for each list of their lengths."""
    payload, at, found = bytes(frame.payload), 0, []
    for some in lengths:
        parts = []
        for length in some:
            parts.append(payload[at : at + length])
            at += length
        found.append(parts)
    return found


def in_messages(parts: Sequence[tuple[bytes, ...]]) -> Iterable[Sequence[tuple[bytes, ...]]]:
    """Them in their order, as many together as one message may have."""
    start = size = 0
    for place, part in enumerate(parts):
        more = sum(map(len, part))
        if place > start and (place - start >= MOST_AT_ONCE or size + more > MOST_BYTES_AT_ONCE):
            yield parts[start:place]
            start, size = place, 0
        size += more
    if start < len(parts):
        yield parts[start:]


def _settle(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
