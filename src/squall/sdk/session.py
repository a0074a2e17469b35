"""Session: what happens between `with app.run():` and its end."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any, Protocol

from squall.blobs.digest import Digest, digest_of
from squall.blobs.tree import File, Tree, tree_of
from squall.context.fresh import fresh_id
from squall.images.installer import InstallerSettings
from squall.model import function as nouns
from squall.model.errors import InvalidError, PythonVersionMismatch
from squall.model.ids import APP, AppId, FunctionId
from squall.sdk.calls import Target
from squall.sdk.client import Client
from squall.sdk.code import pickled_function
from squall.sdk.image import Image
from squall.sdk.image_recipe import LocalFiles, Needed, ReadImage, read_image, recipe_of
from squall.sdk.running import RunningApp
from squall.sdk.ship import below_source_root, missing, ship_bytes, ship_tree
from squall.sdk.source import Source, source_of_file, with_outside
from squall.sdk.source_cache import SourceCache
from squall.sdk.source_walk import SourceFile
from squall.sdk.this_python import installer_settings, this_python
from squall.sdk.watch import PlainWatcher, Watcher
from squall.settings.paths import find_state

MAIN = "__squall_main__"


class _App(Protocol):
    name: str | None
    include_source: bool
    functions: dict[str, Any]


class AppRun:
    """One run of an app."""

    def __init__(self, app: _App, watcher: Watcher | None) -> None:
        self._app = app
        self._watcher = watcher if watcher is not None else PlainWatcher()
        self._client = Client.here()
        self.id = AppId(fresh_id(APP))
        self._source: Source | None = None
        self._tree: Tree | None = None
        self._paths: dict[Digest, str] = {}
        self._running: RunningApp | None = None
        self._images: dict[Image, dict[str, Any]] = {}
        self._read: dict[Image, tuple[ReadImage, list[tuple[Tree, dict[Digest, str]]]]] = {}
        self._installer: dict[str, Any] = {}
        self._cache = SourceCache(None)
        self._digest: str | None = None
        self._names = set(app.functions)
        self._python: dict[str, Any] = {}

    def prepare(self) -> None:
        """What needs no server beside starting one: the source is walked, images are read."""
        self._watcher.step("start", "starting")
        self._client.start(lambda text: self._watcher.step("server", text))
        file = self._entry_file()
        root = os.path.dirname(file) if file else ""
        cache = self._cache = SourceCache.for_root(str(find_state().state / "source-cache"), root)
        if file is not None and self._app.include_source:
            source = self._source = with_outside(source_of_file(file), cache=cache)
            self._tree = cache.tree(source.files)
            self._paths = _paths(self._tree, source.files)
            for note in source.notes:
                self._watcher.note(note)
        for function in self._app.functions.values():
            _check_python(function.declared)
        for image in self._all_images():
            self._look_at(image)
        self._python = this_python().to_json()
        self._installer = installer_settings().to_json()
        if any(function.declared.noun.code.main for function in self._app.functions.values()):
            # Values that name classes of this script say so under the name that the script has in a container.
            sys.modules.setdefault(MAIN, sys.modules["__main__"])

    def _look_at(self, image: Image) -> None:
        """Reads what an image needs of this machine."""
        read = read_image(image)
        self._read[image] = (read, [self._tree_of(local) for local in read.local])

    def _tree_of(self, local: LocalFiles) -> tuple[Tree, dict[Digest, str]]:
        tree = self._cache.tree(local.files)
        return tree_of([*tree.entries, *local.others]), _paths(tree, local.files)

    async def open(self) -> None:
        """Ships what the server lacks, opens the app, and points its functions at it."""
        if self._tree is not None:
            self._watcher.step("source", f"sending the source ({len(self._tree.entries)} files)")
            self._digest = await ship_tree(self._client, below_source_root(self._tree), self._paths)
        await self._settle_images()
        described = [await self._describe(function) for function in self._app.functions.values()]
        head = {
            "app": self.id,
            "name": self._name(),
            "root": self._source.root if self._source else os.getcwd(),
        }
        self._running = RunningApp(self._client, head, described, self._installer, self._watcher.on_event)
        self._watcher.step("image", "making the image ready")
        await self._running.open()
        for function in self._app.functions.values():
            self._point(function)
        self._watcher.opened(self._name(), sorted(self._app.functions))

    async def wanted_images(self) -> list[tuple[dict[str, Any], list[str]]]:
        """What a server has to be asked for each image of the app, and the functions that have it; local files are sent before."""
        await self._settle_images()
        shared: dict[Image, list[str]] = {}
        for name, function in sorted(self._app.functions.items()):
            shared.setdefault(_image(function), []).append(name)
        return [
            (
                {
                    "image": self._images[image],
                    "client_python": self._python,
                    "installer": self._installer,
                },
                names,
            )
            for image, names in shared.items()
        ]

    async def add(self, function: Any) -> None:
        """A function that was declared while the app runs joins it; one of a name that was there takes its place."""
        assert self._running is not None
        image = _image(function)
        _check_python(function.declared)
        if image not in self._images:
            self._look_at(image)
            await self._settle_images()
        declared = function.declared
        if declared.name in self._names:
            function.declared = dataclasses.replace(declared, name=f"{declared.name}.{len(self._names)}")
        self._names.add(function.declared.name)
        await self._running.add(await self._describe(function))
        self._point(function)

    async def close(self) -> None:
        """Ends the app and lets its functions go. In a forked child it is the parent's, and stays."""
        if os.getpid() != self._client.pid:
            return
        for function in self._app.functions.values():
            function.run_as(None)
        if self._running is not None:
            await self._running.close()
        self._watcher.closed()

    def _point(self, function: Any) -> None:
        root = self._source.root if self._source is not None else None
        function.run_as(Target(f"{self.id}/{function.declared.name}", root, function.declared.main))

    async def _describe(self, function: Any) -> nouns.Function:
        declared = function.declared
        noun: nouns.Function = declared.noun
        code = noun.code
        pickled = None
        if declared.by_value:
            pickled = await ship_bytes(self._client, pickled_function(declared.raw))
        code = dataclasses.replace(
            code,
            root=self._source.root if self._source is not None else None,
            source=self._digest,
            pickled=pickled,
            file=self._file_of(declared.raw) if code.main else None,
        )
        return dataclasses.replace(
            noun,
            id=FunctionId(f"{self.id}/{declared.name}"),
            name=declared.name,
            app=self.id,
            code=code,
            image=self._images[_image(function)],
            client_python=self._python,
        )

    def _all_images(self) -> list[Image]:
        return list(dict.fromkeys(_image(function) for function in self._app.functions.values()))

    async def _settle_images(self) -> None:
        """Ships what images need of this machine, and makes their recipes; what is secret travels beside them.

        Raises InvalidError where two of them give different values to one secret.
        """
        sources = InstallerSettings.from_json(self._installer).sources
        new = [image for image in self._read if image not in self._images]
        told: dict[str, str] = {}
        for image in new:
            read, trees = self._read[image]
            digests = [await ship_tree(self._client, tree, paths) for tree, paths in trees]
            needed = recipe_of(image, digests, sources=sources, read=read)
            _tell(told, needed)
            for data in needed.blobs:
                if await missing(self._client, [digest_of(data)]):
                    await ship_bytes(self._client, data)
            self._images[image] = needed.recipe.to_json()
            for note in needed.notes:
                self._watcher.note(note)
        # Images that are there already are built: a cell that declares one anew may bring a new value.
        self._installer.setdefault("secrets", {}).update(told)

    def _file_of(self, raw: Any) -> str | None:
        if self._source is None:
            return None
        return os.path.relpath(os.path.abspath(raw.__code__.co_filename), self._source.root)

    def _entry_file(self) -> str | None:
        """The file whose directory ships: the script, else the module that declared the first function."""
        main = sys.modules.get("__main__")
        modules = [function.declared.noun.code.module for function in self._app.functions.values()]
        names = sorted(modules, key=lambda name: name != "__main__")
        for name in names:
            module = main if name == "__main__" else sys.modules.get(name)
            file = getattr(module, "__file__", None)
            if file and file.endswith(".py") and os.path.exists(file):
                return str(file)
        return None

    def _name(self) -> str:
        if self._app.name:
            return self._app.name
        return os.path.basename(self._source.root) if self._source is not None else "notebook"


def _check_python(declared: Any) -> None:
    """Raises PythonVersionMismatch for code that travels by value to another Python than wrote it."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    asked = declared.image.python_version if declared.image is not None else None
    if declared.by_value and asked not in {None, here}:
        raise PythonVersionMismatch(
            f"the code of {declared.name!r} travels by value from Python {here}, and its image has Python {asked}, which "
            "cannot read it",
            local=here,
            remote=asked,
        )


def _image(function: Any) -> Image:
    found: Image = function.declared.image or _HOST
    return found


def _tell(told: dict[str, str], needed: Needed) -> None:
    """Adds what is secret to what other images of the app tell. Raises InvalidError where one name has two values."""
    for name, value in needed.secrets.items():
        if told.setdefault(name, value) != value:
            raise InvalidError(
                f"two images of this app give {name} different values, and their builds share one",
                remedy="give one of the two another name, or put the images into two apps",
            )


def _paths(tree: Tree, files: tuple[SourceFile, ...]) -> dict[Digest, str]:
    """Where each digest of a tree lies here."""
    absolute = {file.path: file.absolute for file in files}
    return {entry.digest: absolute[entry.path] for entry in tree.entries if isinstance(entry, File)}


_HOST = Image.host()
