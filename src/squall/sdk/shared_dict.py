"""Dict: keys and values that client programs and containers share, kept in the server's record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from squall.model.dict_key import key_bytes, key_of
from squall.model.errors import DictFull
from squall.model.shared import SharedKind
from squall.sdk.blocking import run_blocking
from squall.sdk.boundary import boundary
from squall.sdk.face import Face, PagesFace
from squall.sdk.lanes import ask, change
from squall.sdk.shared_object import Objects, SharedObject, in_messages, packed, parts_of, unpacked


class _Missing:
    """No value, where None is one."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


_MISSING: Any = _Missing()


class Dict(SharedObject):
    """A dict that client programs and containers share by its name. What was put is on disk, and every later `get` sees it.

    Keys are strings, bytes, numbers, bools, None and tuples of these; values whatever can be pickled, up to 2 MiB each.
    A value that was got is a copy: changed, it has to be put again.

    Dict.from_name(name, create_if_missing=False): a handle of one. Dict.ephemeral(): one for as long as a `with` lasts.
    Dict.objects.create(name), .list(), .delete(name): makes one, lists them, removes one with all that it holds.
    get(key, default=None): the value of a key. d[key]: the same; raises KeyError.
    put(key, value, *, skip_if_exists=False): whether it was put. d[key] = value: puts it.
    pop(key, default): takes a key out and gives its value; raises KeyError without a default. del d[key]: takes it out.
    update(mapping, **more): puts many. contains(key), key in d: whether it is there. len(), len(d): how many keys there are.
    keys(), values(), items(): each in turn, in no promised order. clear(): removes all.
    Each method has an awaited form: `await d.get.aio(key)`, `async for key in d.keys.aio()`.
    """

    _kind = SharedKind.DICT
    objects: ClassVar[Objects[Dict]]

    def __init__(
        self,
        name: str | None = None,
        *,
        create: bool = False,
        object_id: str | None = None,
        environment: str | None = None,
    ) -> None:
        super().__init__(name, create=create, object_id=object_id, environment=environment)
        self.get = Face(self._get)
        self.put = Face(self._put)
        self.pop = Face(self._pop)
        self.update = Face(self._update)
        self.contains = Face(self._contains)
        self.len = Face(self._len)
        self.keys = PagesFace(self._keys)
        self.values = PagesFace(self._values)
        self.items = PagesFace(self._items)
        self.clear = Face(self._clear)

    @boundary("call")
    def __getitem__(self, key: Any) -> Any:
        found = run_blocking(self._get(key, _MISSING))
        if found is _MISSING:
            raise KeyError(key)
        return found

    @boundary("call")
    def __setitem__(self, key: Any, value: Any) -> None:
        run_blocking(self._put(key, value))

    @boundary("call")
    def __delitem__(self, key: Any) -> None:
        run_blocking(self._pop(key))

    @boundary("call")
    def __contains__(self, key: Any) -> bool:
        return run_blocking(self._contains(key))

    @boundary("call")
    def __len__(self) -> int:
        return run_blocking(self._len())

    def __iter__(self) -> Iterator[Any]:
        return self.keys()

    async def _get(self, key: Any, default: Any = None) -> Any:
        """The value of a key; `default` where it is not there. Raises DictKeyInvalid, DeserializationError."""
        found = await self.packed_value(key)
        return default if found is None else unpacked(found)

    async def _put(self, key: Any, value: Any, *, skip_if_exists: bool = False) -> bool:
        """Puts a value, in place of the one that is there; whether it was put.

        skip_if_exists: leaves a key as it is that is there; of several who put it at once, one does. Raises DictKeyInvalid,
        SerializationError, SharedValueTooLarge, DictFull.
        """
        new = await self._put_parts([(key_bytes(key), packed([value])[0])], only_new=skip_if_exists)
        return not skip_if_exists or new == 1

    async def _pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Takes a key out, and gives its value; one of several who pop it at once gets it. Raises KeyError without a default."""
        frame = await change("dict.pop", await self._of(), key_bytes(key))
        if frame.head()["found"]:
            return unpacked(bytes(frame.payload))
        if default is _MISSING:
            raise KeyError(key)
        return default

    async def _update(
        self, other: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = (), /, **more: Any
    ) -> None:
        """Puts many values. Up to 1,000 of up to 3 MiB together are put at once; of more, others may see some before the rest."""
        entries = {**dict(other), **more}
        keys = [key_bytes(key) for key in entries]
        await self._put_parts(list(zip(keys, packed(entries.values()), strict=True)), only_new=False)

    async def _put_parts(self, entries: list[tuple[bytes, bytes]], *, only_new: bool) -> int:
        new, of = 0, await self._of()
        for some in in_messages(entries):
            keys, values = [key for key, _ in some], [value for _, value in some]
            head = {**of, "K": list(map(len, keys)), "V": list(map(len, values)), "new": only_new}
            try:
                new += int((await change("dict.put", head, b"".join(keys + values))).head()["new"])
            except DictFull as full:
                raise DictFull(f"{self}: {full.message}", remedy=full.remedy) from None
        return new

    async def _contains(self, key: Any) -> bool:
        """Whether a key is there."""
        frame = await ask("dict.get", {**await self._of(), "look": True}, key_bytes(key))
        return bool(frame.head()["found"])

    async def _len(self) -> int:
        """How many keys there are."""
        return int((await ask("shared.len", await self._of())).head()["len"])

    async def _keys(self) -> AsyncIterator[Sequence[Any]]:
        """The keys. One that is there all the while is given once; numbers come in their plainest form, so 1 for 1.0."""
        async for page in self.packed_entries(look=True):
            yield [key for key, _ in page]

    async def _values(self) -> AsyncIterator[Sequence[Any]]:
        """The values."""
        async for page in self.packed_entries(look=False):
            yield [unpacked(value) for _, value in page]

    async def _items(self) -> AsyncIterator[Sequence[tuple[Any, Any]]]:
        """Keys with their values."""
        async for page in self.packed_entries(look=False):
            yield [(key, unpacked(value)) for key, value in page]

    async def packed_value(self, key: Any) -> bytes | None:
        """The value of a key as it was packed; None where it is not there."""
        frame = await ask("dict.get", await self._of(), key_bytes(key))
        return bytes(frame.payload) if frame.head()["found"] else None

    async def packed_entries(self, *, look: bool) -> AsyncIterator[Sequence[tuple[Any, bytes]]]:
        """Pages of keys with their values as they were packed, or where only keys are looked at, with nothing."""
        after, of = b"", {**await self._of(), "look": look}
        while True:
            frame = await ask("dict.entries", of, after)
            lengths = frame.head()
            keys, values = parts_of(frame, lengths["K"], lengths["V"])
            if not keys:
                return
            yield list(zip(map(key_of, keys), values, strict=True))
            after = keys[-1]

    async def _clear(self) -> None:
        """Removes all keys at once."""
        await change("shared.clear", await self._of())


Dict.objects = Objects(Dict)
