"""Session: what happens between `with app.run():` and its end."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any, Protocol

from squall.context.fresh import fresh_id
from squall.model import function as nouns
from squall.model.deploy import MAIN_ENVIRONMENT, Address, check_name
from squall.model.errors import PythonVersionMismatch
from squall.model.ids import APP, AppId, FunctionId
from squall.model.image import SOURCE_ROOT
from squall.model.jsonable import to_json
from squall.sdk.calls import Target
from squall.sdk.client import Client
from squall.sdk.code import pickled_function
from squall.sdk.deploying import Deploying, DeployWish
from squall.sdk.environments import VARIABLE as ENVIRONMENT_VARIABLE, environment_of
from squall.sdk.image import Image
from squall.sdk.image_ship import ImageShip
from squall.sdk.running import RunningApp
from squall.sdk.secret import travelling
from squall.sdk.ship import LocalTree, ship_bytes, ship_tree
from squall.sdk.source import Source, source_of_file, with_outside
from squall.sdk.source_cache import SourceCache
from squall.sdk.volume_option import mounts_of
from squall.sdk.watch import PlainWatcher, Watcher, begin_watching, end_watching
from squall.settings.paths import find_state

MAIN = "__squall_main__"


class _App(Protocol):
    name: str | None
    include_source: bool
    tags: dict[str, str]
    functions: dict[str, Any]


class AppRun:
    """One run of an app."""

    def __init__(self, app: _App, watcher: Watcher | None, environment: str | None = None) -> None:
        self._app = app
        self._watcher = watcher if watcher is not None else PlainWatcher()
        self._client = Client.here()
        self.id = AppId(fresh_id(APP))
        self._source: Source | None = None
        self._tree: LocalTree | None = None
        self._running: RunningApp | None = None
        self._images = ImageShip(self._client, self._watcher)
        self._cache = SourceCache(None)
        self._digest: str | None = None
        self._names = set(app.functions)
        self._asked = None if environment is None else check_name("an environment", environment)
        # Of an app that runs; where one is deployed, the server knows.
        self._environment = self._volumes_in = ""

    def prepare(self) -> None:
        """What needs no server beside starting one: the source is walked, images are read."""
        self._watcher.step("start", "starting")
        self._client.start(lambda text: self._watcher.step("server", text))
        file = self._entry_file()
        root = os.path.dirname(file) if file else ""
        cache = self._cache = SourceCache.for_root(str(find_state().state / "source-cache"), root)
        if file is not None and self._app.include_source:
            source = self._source = with_outside(source_of_file(file), cache=cache)
            # A layer of the container's root: each file where it shows there.
            self._tree = cache.tree(source.files, below=SOURCE_ROOT.strip("/"))
            for note in source.notes:
                self._watcher.note(note)
        for function in self._app.functions.values():
            _check_python(function.declared)
        for image in self._all_images():
            self._images.look_at(image, cache)
        self._images.look_at_python()
        if any(function.declared.noun.code.main for function in self._app.functions.values()):
            # Values that name classes of this script say so under the name that the script has in a container.
            sys.modules.setdefault(MAIN, sys.modules["__main__"])

    async def open(self) -> None:
        """Ships what the server lacks, opens the app, and points its functions at it."""
        self._environment = self._volumes_in = environment_of(self._asked)
        described = await self._ship()
        head = {"app": self.id, "name": self._name(), "root": self._root, "tags": self._app.tags}
        head["environment"] = self._environment
        payload = self._payload(described)
        self._running = RunningApp(self._client, head, payload, self._watcher.on_event)
        self._watcher.step("image", "making the image ready")
        await self._running.open()
        for function in self._app.functions.values():
            self._point(function, f"{self.id}/{function.declared.name}")
        self._watcher.opened(self._name(), sorted(self._app.functions))
        for function in self._app.functions.values():
            if (schedule := function.declared.noun.schedule) is not None:
                self._watcher.note(
                    f"{function.declared.name} is called by itself once its app is deployed: {schedule}"
                )
        begin_watching(self._watcher)

    async def deploy(self, wish: DeployWish) -> dict[str, Any]:
        """Ships what the server lacks, deploys the app, and points its functions at what is deployed; what the server says of it."""
        self._volumes_in = wish.environment
        described = await self._ship()
        head = {"app": self.id, "root": self._root, **dataclasses.asdict(wish)}
        payload = self._payload(described) | {"tags": self._app.tags}
        self._watcher.step("image", "making the image ready")
        told = await Deploying(self._client, "deploy", head, payload, self._watcher.on_event).outcome()
        for function in self._app.functions.values():
            self._point(function, str(Address(wish.environment, wish.name, function.declared.name)))
        return told

    def _payload(self, described: list[nouns.Function]) -> dict[str, Any]:
        """What the server is told of an app: its functions, and apart from them the values that its secrets bring."""
        told: dict[str, Any] = {
            "functions": [to_json(one) for one in described],
            "installer": self._images.installer,
        }
        secrets = [one for function in self._app.functions.values() for one in function.declared.secrets]
        values = travelling(secrets)
        return told | {"secrets": values} if values else told

    @property
    def _root(self) -> str:
        return self._source.root if self._source else os.getcwd()

    async def _ship(self) -> list[nouns.Function]:
        if self._tree is not None and self._source is not None:
            self._watcher.step("source", f"sending the source ({len(self._source.files)} files)")
            self._digest = await ship_tree(self._client, self._tree)
        await self._images.settle()
        return [await self._describe(function) for function in self._app.functions.values()]

    async def wanted_images(self) -> list[tuple[dict[str, Any], list[str]]]:
        """What a server has to be asked for each image of the app, and the functions that have it; local files are sent before."""
        await self._images.settle()
        shared: dict[Image, list[str]] = {}
        for name, function in sorted(self._app.functions.items()):
            shared.setdefault(_image(function), []).append(name)
        return [(self._images.wants(image), names) for image, names in shared.items()]

    async def add(self, function: Any) -> None:
        """A function that was declared while the app runs joins it; one of a name that was there takes its place."""
        assert self._running is not None
        image = _image(function)
        _check_python(function.declared)
        if image not in self._images:
            self._images.look_at(image, self._cache)
            await self._images.settle()
        declared = function.declared
        if declared.name in self._names:
            function.declared = dataclasses.replace(declared, name=f"{declared.name}.{len(self._names)}")
        self._names.add(function.declared.name)
        await self._running.add(await self._describe(function), travelling(function.declared.secrets))
        self._point(function, f"{self.id}/{function.declared.name}")

    async def close(self) -> None:
        """Ends the app and lets its functions go. In a forked child it is the parent's, and stays."""
        if os.getpid() != self._client.pid:
            return
        end_watching(self._watcher)
        for function in self._app.functions.values():
            function.run_as(None)
        if self._running is not None:
            await self._running.close()
        self._watcher.closed()

    def _point(self, function: Any, at: str) -> None:
        root = self._source.root if self._source is not None else None
        function.run_as(Target(at, root, function.declared.main))

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
            file=self._main_file() if code.main else None,
        )
        return dataclasses.replace(
            noun,
            id=FunctionId(f"{self.id}/{declared.name}"),
            name=declared.name,
            app=self.id,
            code=code,
            image=self._images.recipe(_image(function)),
            client_python=self._images.python,
            volumes=await mounts_of(declared.volumes, self._volumes_in),
            env=self._env(noun),
        )

    def _env(self, noun: nouns.Function) -> dict[str, str]:
        """Its variables, and where its containers look names up, unless that is said."""
        if self._environment in {"", MAIN_ENVIRONMENT}:
            return noun.env
        return {ENVIRONMENT_VARIABLE: self._environment, **noun.env}

    def _all_images(self) -> list[Image]:
        return list(dict.fromkeys(_image(function) for function in self._app.functions.values()))

    def _main_file(self) -> str | None:
        # Not where the code of a function stands: a decorator may have put another one in its place.
        file = getattr(sys.modules.get("__main__"), "__file__", None)
        if self._source is None or file is None:
            return None
        return os.path.relpath(os.path.abspath(file), self._source.root)

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


_HOST = Image.host()
