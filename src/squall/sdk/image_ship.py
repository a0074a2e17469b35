"""Image ship: images made into what a server has to be asked for; what they need of this machine is sent before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from squall.blobs.digest import digest_of
from squall.images.installer import InstallerSettings
from squall.model.errors import InvalidError
from squall.sdk.client import Client
from squall.sdk.image import Image
from squall.sdk.image_declared import NamedBase
from squall.sdk.image_recipe import Needed, ReadImage, read_image, recipe_of
from squall.sdk.ship import LocalTree, missing, ship_bytes, ship_tree
from squall.sdk.source_cache import SourceCache
from squall.sdk.this_python import installer_settings, this_python
from squall.sdk.watch import Watcher


class ImageShip:
    """The images of one run. Each is read once and settled once, and a name means the same image to all of them."""

    def __init__(self, client: Client, watcher: Watcher) -> None:
        self._client = client
        self._watcher = watcher
        self._read: dict[Image, tuple[ReadImage, list[LocalTree]]] = {}
        self._recipes: dict[Image, dict[str, Any]] = {}
        self._meant: dict[str, str] = {}
        self.python: dict[str, Any] = {}
        self.installer: dict[str, Any] = {}

    def look_at_python(self) -> None:
        """Looks at the Python that runs this, and at the settings by which its packages are found."""
        self.python = this_python().to_json()
        self.installer = installer_settings().to_json()

    def look_at(self, image: Image, cache: SourceCache) -> None:
        """Reads what an image needs of this machine. Raises what `read_image` raises."""
        read = read_image(image)
        self._read[image] = (read, [cache.tree(local.files, local.others) for local in read.local])

    def __contains__(self, image: Image) -> bool:
        return image in self._recipes

    def recipe(self, image: Image) -> dict[str, Any]:
        """The recipe of an image that is settled."""
        return self._recipes[image]

    def wants(self, image: Image) -> dict[str, Any]:
        """What a server has to be asked for an image that is settled."""
        return {"image": self._recipes[image], "client_python": self.python, "installer": self.installer}

    async def settle(self) -> None:
        """Ships what images need of this machine, and makes their recipes; what is secret travels beside them.

        Raises InvalidError where two of them give different values to one secret, and ImageNameNotFound.
        """
        sources = InstallerSettings.from_json(self.installer).sources
        told: dict[str, str] = {}
        for image in [image for image in self._read if image not in self._recipes]:
            read, trees = self._read[image]
            if isinstance(image.origin, NamedBase):
                read = replace(read, meant=await self._meaning_of(image.origin.name))
            digests = [await ship_tree(self._client, tree) for tree in trees]
            needed = recipe_of(image, digests, sources=sources, read=read)
            _tell(told, needed)
            for data in needed.blobs:
                if await missing(self._client, [digest_of(data)]):
                    await ship_bytes(self._client, data)
            self._recipes[image] = needed.recipe.to_json()
            for note in needed.notes:
                self._watcher.note(note)
        # Images that are there already are built: a cell that declares one anew may bring a new value.
        self.installer.setdefault("secrets", {}).update(told)

    async def _meaning_of(self, name: str) -> str:
        """The key of the image that a name means. Raises ImageNameNotFound."""
        if name not in self._meant:
            self._meant[name] = (await self._client.answer("image.names.find", {"name": name}))["key"]
        return self._meant[name]


def _tell(told: dict[str, str], needed: Needed) -> None:
    """Adds what is secret to what other images of the app tell. Raises InvalidError where one name has two values."""
    for name, value in needed.secrets.items():
        if told.setdefault(name, value) != value:
            raise InvalidError(
                f"two images of this app give {name} different values, and their builds share one",
                remedy="give one of the two another name, or put the images into two apps",
            )
