"""Image names: what people call images, on record; what a name means is here for as long as it does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from squall import faults
from squall.context.fresh import fresh_id
from squall.model.errors import ImageNameNotFound, InvalidError, NotFoundError, ResourceExhaustedError
from squall.model.ids import NAMING, NamingId, is_id
from squall.model.image_name import parse_image_name, unknown_name
from squall.state.records import Naming
from squall.state.state_store import StateStore

MOST_NAMES: Final = 3_000
"""So many that all of them, with what is told of each, fit into one frame."""

LONGEST_WORDS: Final = 100
_SHORT: Final = 12

_FOUND = faults.declare(
    "name.found", "the image of a name that is given was found, and the name is not recorded"
)
_RECORDED = faults.declare("name.recorded", "what a name means is on record, and nobody was told")

FindImage = Callable[[str], Awaitable[dict[str, Any] | NotFoundError]]
"""The image of a key, or of its beginning, on the machine that has it, where it counts as used now: its whole `key`, and
`what` it is in words. An error as its value says that it is not there; raised, it says that no machine answers."""


class ImageNames:
    """The names of one record. most: how many may mean something at once."""

    def __init__(self, state: StateStore, find_image: FindImage, *, most: int = MOST_NAMES) -> None:
        self._state = state
        self._find_image = find_image
        self._most = most
        self._turn = asyncio.Lock()

    async def publish(self, head: dict[str, Any]) -> dict[str, Any]:
        """Has a name mean an image from now on. head: `id` of the naming, `name`, `key`, and `who` names it so.

        Raises InvalidError, NotFoundError for an image that is not here, ResourceExhaustedError for one name too many.
        """
        name = str(parse_image_name(head.get("name")))
        naming = NamingId(str(head.get("id")))
        if not is_id(naming, NAMING):
            raise InvalidError(f"{naming!r} is no id of a naming")
        # An image is looked for and named in one turn: no pruning comes between.
        async with self._turn:
            names = {one.name for one in await self._state.image_names()}
            if name not in names and len(names) >= self._most:
                raise ResourceExhaustedError(
                    f"{len(names)} names of images are kept, which is as many as there may be",
                    remedy="delete some with `squall image names delete NAME`",
                )
            image = await self._find_image(str(head.get("key", "")))
            if isinstance(image, NotFoundError):
                raise image
            given = Naming(
                id=naming,
                name=name,
                key=str(image["key"]),
                at_s=time.time(),
                who=_words(head.get("who")),
                what=_words(image["what"]),
            )
            faults.point(_FOUND)
            new = await self._state.record_naming(given)
            faults.point(_RECORDED)
        return {**given.to_json(), "new": new}

    async def find(self, head: dict[str, Any]) -> dict[str, Any]:
        """The image that a name means. Raises ImageNameNotFound, InvalidError."""
        asked = str(parse_image_name(head.get("name")))
        names = {one.name: one for one in await self._state.image_names()}
        if asked not in names:
            raise unknown_name(asked, names)
        named = names[asked]
        if isinstance(await self._find_image(named.key), NotFoundError):
            raise ImageNameNotFound(
                f"{asked} means the image {named.key[:_SHORT]} ({named.what}), which is not on this machine any more",
                remedy="publish an image under this name again: `image.publish(NAME)`",
                name=asked,
            )
        return named.to_json()

    async def rows(self, _head: dict[str, Any]) -> dict[str, Any]:
        """Every name that means something."""
        return {"names": [one.to_json() for one in await self._state.image_names()]}

    async def history(self, head: dict[str, Any]) -> dict[str, Any]:
        """What a name has meant, the newest first. Raises ImageNameNotFound, InvalidError."""
        asked = str(parse_image_name(head.get("name")))
        found = await self._state.namings(asked)
        if not found:
            raise unknown_name(asked, [one.name for one in await self._state.image_names()])
        return {"name": asked, "history": [one.to_json() for one in found]}

    async def delete(self, head: dict[str, Any]) -> dict[str, Any]:
        """Has a name mean nothing. head: `name`, and `who` wants it. Raises ImageNameNotFound, InvalidError."""
        asked = str(parse_image_name(head.get("name")))
        names = {one.name: one for one in await self._state.image_names()}
        if asked not in names:
            raise unknown_name(asked, names)
        naming = NamingId(fresh_id(NAMING))
        gone = Naming(id=naming, name=asked, key="", at_s=time.time(), who=_words(head.get("who")))
        await self._state.record_naming(gone)
        return {"name": asked, "key": names[asked].key}

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[dict[str, list[str]]]:
        """The images that names mean, each with its names, while nobody publishes another."""
        async with self._turn:
            held: dict[str, list[str]] = {}
            for one in await self._state.image_names():
                held.setdefault(one.key, []).append(one.name)
            yield held


def _words(said: Any) -> str:
    """What is kept of words for people."""
    cut = "" if said is None else str(said)[:LONGEST_WORDS]
    return "".join(sign if sign.isprintable() else "?" for sign in cut)


QUESTIONS: Final[Mapping[str, Callable[[ImageNames, dict[str, Any]], Awaitable[dict[str, Any]]]]] = {
    "image.names.publish": ImageNames.publish,
    "image.names.find": ImageNames.find,
    "image.names.list": ImageNames.rows,
    "image.names.history": ImageNames.history,
    "image.names.delete": ImageNames.delete,
}
