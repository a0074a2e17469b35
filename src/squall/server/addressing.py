"""Addressing: which version a call goes to that names a function of a deployed app, and the calls that wait for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from squall.model.deploy import MAIN_ENVIRONMENT, Address, DeployedName, VersionState
from squall.model.errors import DeployedAppNotFound, FunctionNotFound, TooManyInputs, VersionNotFound
from squall.model.function import Function
from squall.model.ids import AppId, CallId, FunctionId, call_of_input
from squall.model.jsonable import to_json
from squall.model.parameters import POOL
from squall.model.variant import MARK, split_changes
from squall.server.calls import Calls
from squall.server.held import GoOn, Held
from squall.server.records import FunctionRecord, Worker
from squall.server.variants import Variants
from squall.server.versions import Version
from squall.wire.codec import Frame
from squall.wire.stream import Stream

MOST_HELD = 10_000
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of a call before its function is: its id, the input that made it, and the container that it comes from."""

    call: CallId
    parent: str = ""
    caller: Worker | None = None


class Addressing:
    """Finds functions of deployed apps. versions: those in memory; serving: those of them that take new calls."""

    def __init__(self, calls: Calls, variants: Variants) -> None:
        self.versions: dict[AppId, Version] = {}
        self.serving: dict[DeployedName, Version] = {}
        self._calls = calls
        self._variants = variants
        self._held: dict[DeployedName, list[Held]] = {}

    def function(self, text: str, asked: Asked) -> FunctionId:
        """The id of the function that a call means.

        Raises DeployedAppNotFound, VersionNotFound, FunctionNotFound, InvalidError for options that cannot be.
        """
        text, changes = split_changes(text)
        base = self._function(text, asked)
        return self._variants.find(base, changes) if changes else base

    def _function(self, text: str, asked: Asked) -> FunctionId:
        address = Address.read(text)
        if address is None:
            return FunctionId(text)
        name = self.name_of(address.environment, address.app, asked.caller)
        version = self._version(name, address.version, asked)
        known = version.app.functions.get(address.function)
        if known is None:
            raise no_function(version, address.function)
        return known.function.id

    def name_of(self, environment: str, app: str, caller: Worker | None) -> DeployedName:
        """The deployed app that is meant; one whose environment is not said is in that of the caller's own app."""
        return DeployedName(environment or self.environment_of(caller), app)

    def environment_of(self, caller: Worker | None) -> str:
        """The environment of a container's own app; main where it is of none that is deployed, or a client asks."""
        own = self.version_of(caller.function) if caller is not None else None
        return own.row.environment if own else MAIN_ENVIRONMENT

    def rename(self, environment: str, new: str) -> None:
        """An environment has another name."""
        for kept in (self.serving, self._held):
            for name in [name for name in kept if name.environment == environment]:
                kept[replace(name, environment=new)] = kept.pop(name)  # type: ignore[assignment]  # each keeps its own

    def version_of(self, function: FunctionId) -> Version | None:
        """The version that a function belongs to, if it is one of a deployed app."""
        return self.versions.get(AppId(function.partition("/")[0]))

    def find(self, name: DeployedName, number: int | None) -> Version:
        """The version that serves, or the one of that number. Raises DeployedAppNotFound, VersionNotFound."""
        serving = self.serving.get(name)
        if serving is None:
            raise self.unknown(name)
        if number is None or number == serving.row.number:
            return serving
        callable_now = {VersionState.SERVING, VersionState.DRAINING}
        there = [one for one in self.versions.values() if one.deployed == name and one.state in callable_now]
        for one in there:
            if one.row.number == number:
                return one
        numbers = ", ".join(str(one.row.number) for one in there)
        raise VersionNotFound(
            f"version {number} of {name} takes no calls; there is: {numbers}",
            remedy=f"go back to it with `squall app rollback {name.app} {number}`, or name no version",
        )

    def unknown(self, name: DeployedName) -> DeployedAppNotFound:
        """The error for an app that nobody has deployed, with those that somebody has."""
        there = sorted(other.app for other in self.serving if other.environment == name.environment)
        elsewhere = sorted(other.environment for other in self.serving if other.app == name.app)
        hint = f"; in {', '.join(elsewhere)} there is one of that name" if elsewhere else ""
        listed = ", ".join(there) or "none"
        return DeployedAppNotFound(
            f"no app {name.app!r} is deployed in the environment {name.environment}; deployed there: {listed}{hint}"
        )

    def _version(self, name: DeployedName, number: int | None, asked: Asked) -> Version:
        return self._own(name, number, asked) or self.find(name, number)

    def _own(self, name: DeployedName, number: int | None, asked: Asked) -> Version | None:
        """A call that has begun stays where it is, and what the inputs of a version call is of that version; else None."""
        begun = self._calls.calls.get(asked.call)
        homes = [] if begun is None else [begun.function]
        for container, _part in self._calls.returning.claims(asked.call):
            worker = self._calls.workers.get(container)
            homes += [] if worker is None else [worker.function]
        if number is None and asked.caller is not None:
            homes.append(asked.caller.function)
        for function in homes:
            version = self.version_of(function)
            if version is not None and version.deployed == name:
                return version
        return self._above(name, asked.parent) if number is None else None

    def _above(self, name: DeployedName, parent: str) -> Version | None:
        """The version of an input further up of which a call is made."""
        for _ in range(_DEEPEST):
            made_by = self._calls.calls.get(call_of_input(parent)) if parent else None
            if made_by is None:
                return None
            version = self.version_of(made_by.function)
            if version is not None and version.deployed == name:
                return version
            parent = made_by.parent
        return None

    # -- calls that wait until a version has taken over

    def held_as(self, text: str, asked: Asked) -> DeployedName | None:
        """The app that a call has to wait for, as its next version is to start alone; None where it may go on."""
        if (
            not self._held
            or (address := Address.read(split_changes(text)[0])) is None
            or address.version is not None
        ):
            return None
        name = self.name_of(address.environment, address.app, asked.caller)
        return name if name in self._held and self._own(name, None, asked) is None else None

    def hold(self, name: DeployedName) -> None:
        """New calls of this app wait from now on."""
        self._held.setdefault(name, [])

    def keep(self, name: DeployedName, stream: Stream, frame: Frame, go_on: GoOn) -> None:
        """A call waits. Raises TooManyInputs where too many do."""
        waiting = self._held[name]
        if len(waiting) >= MOST_HELD:
            raise TooManyInputs(
                f"{len(waiting)} calls wait for a version of {name} to take over",
                limit=MOST_HELD,
                retry_after_s=0.5,
            )
        waiting.append(Held.hold(stream, frame, go_on))

    def release(self, name: DeployedName) -> None:
        """New calls of this app go on, those that waited first, in their order."""
        for held in self._held.pop(name, ()):
            held.release()


def no_function(version: Version, name: str) -> FunctionNotFound:
    """The error for a function that a version does not have, with those that it has."""
    there = ", ".join(sorted(_declared(version))) or "none"
    return FunctionNotFound(
        f"{version.deployed} has no function {name!r} in version {version.row.number}; it has: {there}",
        remedy="name one of those",
    )


def as_found(version: Version) -> Mapping[str, Any]:
    """What somebody who looks an app up is told of it."""
    functions = {
        name: {
            "is_generator": known.function.is_generator,
            "root": known.function.code.root,
            **_of_class(known.function),
        }
        for name, known in sorted(_declared(version).items())
    }
    row = version.row
    return {
        "environment": row.environment,
        "app": row.name,
        "version": row.number,
        "tag": row.tag,
        "functions": functions,
    }


def _of_class(function: Function) -> dict[str, Any]:
    """What its objects are made with, and its methods; nothing of a plain function."""
    if not function.methods:
        return {}
    return {
        "methods": {one.name: one.is_generator for one in function.methods},
        "parameters": [to_json(one) for one in function.parameters],
        "values": function.values,
    }


def _declared(version: Version) -> dict[str, FunctionRecord]:
    return {name: known for name, known in version.app.functions.items() if not {MARK, POOL} & set(name)}
