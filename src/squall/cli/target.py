"""Target: what `squall run` runs, found in a file, a module, or standard input."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from squall.model.errors import EntrypointNotFound, SourceFileNotFound
from squall.sdk.app import App
from squall.sdk.cls import DeclaredClass
from squall.sdk.entrypoint import Flag, LocalEntrypoint, flags_of
from squall.sdk.function import Function
from squall.sdk.method import BoundMethod
from squall.sdk.source import Entry, entry_of_file, entry_of_module


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the module is that holds the target; text: the program itself, if it came by standard input."""

    entry: Entry | None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An entrypoint or a function, and the app that it runs in."""

    app: App
    entrypoint: LocalEntrypoint | None = None
    function: Function[Any, Any] | BoundMethod[Any, Any] | None = None

    @staticmethod
    def choose(module: ModuleType, target: str) -> "Target":
        """The target that the text after `::` names, or the only one. Raises EntrypointNotFound, naming what there is."""
        apps = apps_in(module)
        file, _, name = target.partition("::")
        if not apps:
            raise EntrypointNotFound(f"{file} declares no app: there is no `squall.App(...)` in it")
        entrypoints = {key: (app, one) for app in apps for key, one in app.entrypoints.items()}
        functions = {key: (app, one) for app in apps for key, one in _callables(app)}
        if name not in functions and name.partition(".")[0] in vars(module):
            name = name.rpartition(".")[2]
        if name in entrypoints:
            return Target(app=entrypoints[name][0], entrypoint=entrypoints[name][1])
        if name in functions:
            return Target(app=functions[name][0], function=functions[name][1]())
        there = ", ".join([*entrypoints, *functions]) or "nothing"
        if name:
            raise EntrypointNotFound(
                f"{file} has no entrypoint and no function {name!r}; it has: {there}",
                remedy=f"name one of them: `squall run {file}::NAME`",
            )
        if len(entrypoints) == 1:
            ((app, entrypoint),) = entrypoints.values()
            return Target(app=app, entrypoint=entrypoint)
        if not entrypoints and len(functions) == 1:
            ((app, function),) = functions.values()
            return Target(app=app, function=function())
        raise EntrypointNotFound(
            f"{file} has several things that can be run: {there}"
            if there != "nothing"
            else f"{file} has nothing to run",
            remedy=f"name one: `squall run {file}::NAME`" if there != "nothing" else None,
        )

    @property
    def help(self) -> str:
        """What the target's docstring says."""
        return (self.raw.__doc__ or "").strip()

    @property
    def raw(self) -> Callable[..., Any]:
        """The user's function."""
        if self.entrypoint is not None:
            return self.entrypoint.raw
        assert self.function is not None
        found: Callable[..., Any] = self.function.__squall_function__
        return found

    @property
    def shows_result(self) -> bool:
        """A function's value is printed; an entrypoint prints what it likes."""
        return self.entrypoint is None

    def flags(self) -> tuple[Flag, ...]:
        """Its parameters as flags."""
        what = f"the entrypoint {self.entrypoint.name!r}" if self.entrypoint is not None else "the function"
        return flags_of(self.raw, what=what)

    def call(self, values: Mapping[str, Any]) -> Any:
        """Runs it: an entrypoint here, a function in a container."""
        if self.entrypoint is not None:
            return self.entrypoint(**values)
        assert self.function is not None
        if self.function.is_generator:
            for item in self.function.remote_gen(**values):
                print(item)
            return None
        return self.function.remote(**values)


def find_target(target: str, *, is_module: bool) -> Place:
    """The place of a target. Raises SourceFileNotFound."""
    file = target.partition("::")[0]
    if file == "-":
        return Place(entry=None, text=sys.stdin.read())
    if is_module:
        return Place(entry=entry_of_module(file))
    if not file.endswith(".py") and not os.path.isfile(file):
        if os.path.isfile(file + ".py"):
            raise SourceFileNotFound(f"{file} does not exist, but {file}.py does", path=file)
        if os.path.isdir(file):
            raise SourceFileNotFound(f"{file} is a directory; name a file in it", path=file)
    return Place(entry=entry_of_file(file))


def load_target(place: Place) -> ModuleType:
    """The module, imported under the name that it has in containers too. Raises whatever it raises."""
    if place.entry is None:
        return _from_text(place.text)
    root = os.path.realpath(place.entry.root)
    if root not in sys.path:
        sys.path.insert(0, root)
    known = sys.modules.get(place.entry.module)
    path = os.path.join(root, place.entry.path)
    if (known is None and place.entry.module.isidentifier()) or "." in place.entry.module:
        module = importlib.import_module(place.entry.module)
        if os.path.realpath(getattr(module, "__file__", None) or "") == os.path.realpath(path):
            return module
    # A file whose name is another module's, or no name at all (my-script.py), is loaded from its path.
    return _from_path(place.entry.module, path)


def _from_path(name: str, path: str) -> ModuleType:
    import importlib.util

    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SourceFileNotFound(f"{path} is no Python file", path=path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _from_text(text: str) -> ModuleType:
    """A program from standard input: it has no file, so its functions travel by value."""
    import linecache

    module = ModuleType("__main__")
    name = "<stdin>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    sys.modules["__main__"] = module
    exec(compile(text, name, "exec"), module.__dict__)  # noqa: S102 - running the user's program is the job
    return module


def _callables(app: App) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What of an app can be called by its name: functions, and methods of an object that is made without parameters."""
    for name, one in app.functions.items():
        if isinstance(one, DeclaredClass):
            for method in one.methods():
                yield f"{name}.{method}", partial(one.method_of_its_own, method)
        else:
            yield name, partial(_itself, one)


def _itself(function: Function[Any, Any]) -> Function[Any, Any]:
    return function


def apps_in(module: ModuleType) -> list[App]:
    """The apps that a module declares, in its order."""
    found = [value for value in vars(module).values() if isinstance(value, App)]
    return list(dict.fromkeys(found))
