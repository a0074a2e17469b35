"""Session: what happens between `with app.run():` and its end."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any, Protocol

from squall.blobs.digest import Digest
from squall.blobs.tree import File, Tree
from squall.context.fresh import fresh_id
from squall.model import function as nouns
from squall.model.ids import APP, AppId, FunctionId
from squall.sdk.calls import Target
from squall.sdk.client import Client
from squall.sdk.code import pickled_function
from squall.sdk.image import Image
from squall.sdk.image_recipe import local_files, recipe_of
from squall.sdk.running import RunningApp
from squall.sdk.ship import below_source_root, ship_bytes, ship_tree
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
        self._local: dict[Image, list[tuple[Tree, dict[Digest, str]]]] = {}
        self._installer: dict[str, Any] = {}
        self._python: dict[str, Any] = {}

    def prepare(self) -> None:
        """What needs no server beside starting one: the source is walked, images are read."""
        self._watcher.step("start", "starting")
        self._client.start(lambda text: self._watcher.step("server", text))
        file = self._entry_file()
        cache = SourceCache.for_root(str(find_state().state / "source-cache"), os.path.dirname(file) if file else "")
        if file is not None and self._app.include_source:
            source = self._source = with_outside(source_of_file(file), cache=cache)
            self._tree = cache.tree(source.files)
            self._paths = _paths(self._tree, source.files)
            for note in source.notes:
                self._watcher.note(note)
        for image in self._all_images():
            found = self._local[image] = []
            for added in local_files(image):
                tree = cache.tree(added.files)
                found.append((tree, _paths(tree, added.files)))
        self._python = this_python().to_json()
        self._installer = installer_settings().to_json()
        if any(function.declared.noun.code.main for function in self._app.functions.values()):
            # Values that name classes of this script say so under the name that the script has in a container.
            sys.modules.setdefault(MAIN, sys.modules["__main__"])

    async def open(self) -> None:
        """Ships what the server lacks, opens the app, and points its functions at it."""
        digest = None
        if self._tree is not None:
            self._watcher.step("source", f"sending the source ({len(self._tree.entries)} files)")
            digest = await ship_tree(self._client, below_source_root(self._tree), self._paths)
        await self._settle_images()
        described = [await self._describe(function, digest) for function in self._app.functions.values()]
        head = {"app": self.id, "name": self._name(), "root": self._source.root if self._source else os.getcwd()}
        self._running = RunningApp(
            self._client, head, described, self._installer, self._watcher.on_event
        )
        self._watcher.step("image", "making the image ready")
        await self._running.open()
        for function in self._app.functions.values():
            self._point(function)
        self._watcher.opened(self._name(), sorted(self._app.functions))

    def add(self, function: Any) -> None:
        """A function that was declared while the app runs joins it."""

    async def close(self) -> None:
        """Ends the app and lets its functions go."""
        for function in self._app.functions.values():
            function.run_as(None)
        if self._running is not None:
            await self._running.close()
        self._watcher.closed()

    def _point(self, function: Any) -> None:
        root = self._source.root if self._source is not None else None
        declared = function.declared
        function.run_as(Target(f"{self.id}/{declared.name}", root, declared.main, self._client))

    async def _describe(self, function: Any, source: str | None) -> nouns.Function:
        declared = function.declared
        noun: nouns.Function = declared.noun
        code = noun.code
        pickled = None
        if declared.by_value:
            pickled = await ship_bytes(self._client, pickled_function(declared.raw))
        code = dataclasses.replace(
            code,
            root=self._source.root if self._source is not None else None,
            source=source,
            pickled=pickled,
            file=self._file_of(declared.raw) if code.main else None,
        )
        return dataclasses.replace(
            noun,
            id=FunctionId(f"{self.id}/{declared.name}"),
            app=self.id,
            code=code,
            image=self._images[_image(function)],
            client_python=self._python,
        )

    def _all_images(self) -> list[Image]:
        return list(dict.fromkeys(_image(function) for function in self._app.functions.values()))

    async def _settle_images(self) -> None:
        """Ships the local files of every image, and makes its recipe; what is secret travels beside it."""
        secrets = self._installer.setdefault("secrets", {})
        for image, trees in self._local.items():
            digests = [await ship_tree(self._client, tree, paths) for tree, paths in trees]
            needed = recipe_of(image, digests)
            secrets.update(needed.secrets)
            self._images[image] = needed.recipe.to_json()
            for note in needed.notes:
                self._watcher.note(note)

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


def _image(function: Any) -> Image:
    found: Image = function.declared.image or _HOST
    return found


def _paths(tree: Tree, files: tuple[SourceFile, ...]) -> dict[Digest, str]:
    """Where each digest of a tree lies here."""
    absolute = {file.path: file.absolute for file in files}
    return {entry.digest: absolute[entry.path] for entry in tree.entries if isinstance(entry, File)}


_HOST = Image.host()
