"""Verbs of an image: what is done to it now, while the program waits, each blocking, and with `.aio` awaited."""

from __future__ import annotations

import importlib
from typing import Any, Generic, Protocol, TypeVar

from squall.context.current import in_container
from squall.model.errors import InvalidError
from squall.model.image_name import ImageName, parse_image_name
from squall.sdk.blocking import run_blocking, run_here
from squall.sdk.boundary import boundary

I = TypeVar("I")  # noqa: E741 - an image


class _Now(Protocol):
    """See `image_now.ImageNow`, which knows images, as this does not."""

    async def build(self) -> Any:
        """Builds it."""

    async def publish(self, name: ImageName) -> Any:
        """Builds it, and has the name mean it."""


class Build(Generic[I]):
    """`image.build(app)`: builds it now; `await image.build.aio(app)` does not block."""

    __slots__ = ("_image",)

    def __init__(self, image: I) -> None:
        self._image = image

    @boundary("build")
    def __call__(self, app: Any) -> I:
        """Builds the image now, as far as it is not here, and gives it back; what is said meanwhile is shown as when `app` is opened.

        app: whose server builds it; it need not run. Raises what opening an app with a function of this image raises, and
        InvalidError inside a container.
        """
        run_blocking(_prepared("build", self._image, app).build())
        return self._image

    @boundary("build")
    async def aio(self, app: Any) -> I:
        """The same, awaited."""
        await run_here(_prepared("build", self._image, app).build())
        return self._image


class Publish(Generic[I]):
    """`image.publish(name)`: has a name mean it; `await image.publish.aio(name)` does not block."""

    __slots__ = ("_image",)

    def __init__(self, image: I) -> None:
        self._image = image

    @boundary("publish")
    def __call__(self, name: str) -> I:
        """Builds the image as far as it is not here, has `Image.from_name(name)` mean it from now on, and gives it back.

        name: "base:1", or "base" for "base:latest"; small letters, digits and `._/-`, a tag like that of a container. A name
        that meant another image moves, for apps that are opened later. Raises as `build` does, and InvalidError for what is no
        name, for Image.host() and for local files that are not copied, which are no part of what a name can mean.
        """
        asked = parse_image_name(name)
        run_blocking(_prepared("publish", self._image).publish(asked))
        return self._image

    @boundary("publish")
    async def aio(self, name: str) -> I:
        """The same, awaited."""
        asked = parse_image_name(name)
        await run_here(_prepared("publish", self._image).publish(asked))
        return self._image


def _prepared(verb: str, image: Any, app: Any = None) -> _Now:
    """The image, read, and a server that answers. Blocks."""
    if in_container() is not None:
        raise InvalidError(
            f"image.{verb}() is for the client, and this is a container, which imports the same file",
            remedy='put it below `if __name__ == "__main__":`, or into a function with `@app.local_entrypoint()`',
        )
    # A container declares images too, and builds none: each fork of a template would pay for what that takes.
    now = importlib.import_module("squall.sdk.image_now").ImageNow(image)
    if verb == "build":
        now.check_app(app)
    else:
        now.check_fit_for_a_name()
    now.prepare()
    prepared: _Now = now
    return prepared
