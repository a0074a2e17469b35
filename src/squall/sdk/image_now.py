"""Image now: one image that is built, and perhaps named, while a program waits."""

from __future__ import annotations

import json
import os
from typing import Any, Final

from squall.context.fresh import fresh_id
from squall.model.errors import ChannelClosed, ConflictError, ConnectionLost, InvalidError, NotFoundError
from squall.model.ids import NAMING
from squall.model.image_name import ImageName
from squall.sdk.app import App
from squall.sdk.client import Client
from squall.sdk.image import Image
from squall.sdk.image_declared import Local
from squall.sdk.image_ship import ImageShip
from squall.sdk.source_cache import SourceCache
from squall.sdk.watch import Watcher, watcher_now
from squall.sdk.who import who_asks
from squall.settings.paths import find_state
from squall.wire.codec import Frame

_TRIES: Final = 3


class ImageNow:
    """One image and the server that is asked for it. watcher: who shows what happens."""

    def __init__(self, image: Image, watcher: Watcher | None = None) -> None:
        self._image = image
        self._watcher = watcher if watcher is not None else watcher_now()
        self._client = Client.here()
        self._ship = ImageShip(self._client, self._watcher)

    def check_app(self, app: Any) -> None:
        """Raises InvalidError for what is no app."""
        if not isinstance(app, App):
            raise InvalidError(
                f"image.build takes a squall.App, and not {app!r:.80}", remedy="write `image.build(app)`"
            )

    def check_fit_for_a_name(self) -> None:
        """Raises InvalidError where a name could mean only a part of this image."""
        if self._image.base == "host":
            raise InvalidError(
                "Image.host() is this machine, and no image that a name could mean elsewhere",
                remedy="start from an image with a root of its own: Image.debian_slim()",
            )
        late = next((step for step in self._image.steps if isinstance(step, Local) and not step.copy), None)
        if late is not None:
            raise InvalidError(
                f"the local files of {late.local!r} are added only when a container starts, so they are no part of what a "
                "name can mean",
                remedy="add them with copy=True, or where the name is used: `Image.from_name(NAME).add_local_...`",
            )

    def prepare(self) -> None:
        """Reads what the image needs of this machine, and starts a server where none runs. Blocks."""
        self._client.start(lambda text: self._watcher.step("server", text))
        cache = SourceCache.for_root(str(find_state().state / "source-cache"), os.getcwd())
        self._ship.look_at(self._image, cache)
        self._ship.look_at_python()

    async def build(self) -> dict[str, Any]:
        """Builds the image as far as it is not here; what the server says of it: its `key`, whether it is `new`.

        A connection that breaks is made again, a few times. Raises what opening an app with this image raises.
        """
        self._watcher.step("image", "building an image")
        try:
            await self._ship.settle()
            payload = json.dumps(self._ship.wants(self._image)).encode()
            for left in reversed(range(_TRIES)):
                try:
                    return await self._client.follow("image.build", {}, self._on_line, payload)
                except (ConnectionLost, ChannelClosed):
                    if not left:
                        raise
            raise AssertionError
        finally:
            self._watcher.step("image", "")

    async def publish(self, name: ImageName) -> dict[str, Any]:
        """Builds the image and has the name mean it; what is told of the name, and whether its meaning is `new`.

        Raises as `build` does, and ConflictError where the image is pruned again and again before it has the name.
        """
        head = naming(str(name))
        for _ in range(_TRIES):
            key = (await self.build())["key"]
            try:
                return await self._client.answer("image.names.publish", {**head, "key": key})
            except NotFoundError:
                continue
        raise ConflictError(
            f"the image was removed {_TRIES} times before it could be named {name}",
            remedy="publish it again when no `squall image prune --all` runs",
        )

    def _on_line(self, frame: Frame) -> None:
        self._watcher.on_event({"build": frame.head()}, memoryview(b""))


def naming(name: str) -> dict[str, str]:
    """What a server is told beside the key to have a name mean an image, once however often it is told."""
    return {"id": fresh_id(NAMING), "name": name, "who": who_asks()}
