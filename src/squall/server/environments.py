"""Environments: which there are, which is meant, what is in them, and how they are made, renamed and removed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from squall.model.deploy import MAIN_ENVIRONMENT, check_name
from squall.model.errors import (
    AlreadyExistsError,
    ConflictError,
    EnvironmentNotEmpty,
    EnvironmentNotFound,
    InvalidError,
)
from squall.model.shared import SharedKind
from squall.server.deploys import Deploys
from squall.server.records import Worker
from squall.server.sharing import Sharing
from squall.server.vault import Vault
from squall.state.deploy_records import EnvironmentRecord
from squall.state.state_store import StateStore
from squall.state.volumes.records import VolumeRecord


class Environments:
    """Every environment. Apps, and what is kept under a name, are told apart by them. renamed: called after one has another name."""

    def __init__(self, state: StateStore, deploys: Deploys, sharing: Sharing, vault: Vault) -> None:
        self.renamed: Callable[[str, str], Awaitable[None]]
        self._state = state
        self._deploys = deploys
        self._sharing = sharing
        self._vault = vault

    async def names(self) -> list[str]:
        """Their names."""
        return sorted({MAIN_ENVIRONMENT, *(one.name for one in await self._state.environments())})

    async def meant(self, asked: Any, caller: Worker | None) -> str:
        """The environment that is asked for; none is asked for by the empty name: that of the caller's own app, or main.

        Raises NameInvalid, EnvironmentNotFound.
        """
        name = check_name("an environment", asked or self._deploys.addressing.environment_of(caller))
        if name != MAIN_ENVIRONMENT and name not in (there := await self.names()):
            raise EnvironmentNotFound(f"there is no environment {name!r}; there is: {', '.join(there)}")
        return name

    async def contents(self, name: str) -> dict[str, list[str]]:
        """What is in one, by kind: the names of apps, and of what is kept there."""
        apps = {one.deployed.app for one in self._deploys.versions.values() if one.row.environment == name}
        found = {"app": sorted(apps)}
        for kind in SharedKind:
            found[str(kind)] = [
                one.shared.name
                for one in await self._sharing.objects(kind)
                if one.shared.name and one.shared.environment == name
            ]
        found["secret"] = sorted({one.name for one in self._vault.rows(name)})
        found["volume"] = [volume.name for volume in await self._volumes(name)]
        return found

    async def _volumes(self, environment: str) -> list[VolumeRecord]:
        return [one for one, _ in await self._state.volumes() if one.name and one.environment == environment]

    async def create(self, name: object) -> str:
        """Makes one. Raises NameInvalid, AlreadyExistsError."""
        asked = check_name("an environment", name)
        made = EnvironmentRecord(name=asked, created_s=time.time())
        if asked == MAIN_ENVIRONMENT or not await self._state.record_environment(made):
            raise _there_already(asked)
        return asked

    async def rename(self, name: object, new: object) -> str:
        """Gives one another name; what is in it stays there.

        Raises EnvironmentNotFound, NameInvalid, AlreadyExistsError, ConflictError where it has secrets: they are sealed for it.
        """
        old = await self._changeable(name, "name another one")
        asked = check_name("an environment", new)
        secrets = sorted({one.name for one in self._vault.rows(old)})
        if secrets:
            raise ConflictError(
                f"the environment {old} has secrets, which are sealed for it: {', '.join(secrets)}",
                remedy=f"delete them, and make them again in {asked}: `squall secret delete {secrets[0]} --env {old}`",
            )
        if asked == MAIN_ENVIRONMENT or not await self._state.rename_environment(old, asked):
            raise _there_already(asked)
        self._deploys.rename(old, asked)
        await self.renamed(old, asked)
        return asked

    async def delete(self, name: object, *, with_contents: bool) -> str:
        """Forgets one and the history of its apps.

        with_contents: and all that is kept in it. Raises EnvironmentNotFound, EnvironmentNotEmpty, ConflictError while an
        app is deployed there.
        """
        asked = await self._changeable(name, "stop its apps: `squall app stop APP`")
        inside = await self.contents(asked)
        apps = inside.pop("app")
        if apps:
            raise _has_apps(asked, ", ".join(apps))
        if any(inside.values()) and not with_contents:
            raise EnvironmentNotEmpty.of(asked, inside)
        for kind in SharedKind:
            for one in inside[str(kind)]:
                await self._sharing.delete(kind, one, asked)
        for volume in await self._volumes(asked):
            await self._state.drop_volume(volume.id)
        await self._vault.forget_environment(asked)
        if not await self._state.drop_environment(asked):
            raise _has_apps(asked, "some that are just ending, or something was just made there")
        return asked

    async def _changeable(self, name: object, instead: str) -> str:
        if name == MAIN_ENVIRONMENT:
            raise InvalidError("the environment main is always there", remedy=instead)
        there = await self.names()
        if name not in there:
            raise EnvironmentNotFound(f"there is no environment {name!r}; there is: {', '.join(there)}")
        return str(name)


def _there_already(name: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"there is an environment {name!r} already", remedy="use it, or choose another name"
    )


def _has_apps(name: str, which: str) -> ConflictError:
    return ConflictError(
        f"the environment {name} has apps: {which}",
        remedy=f"stop them first: `squall app stop APP --env {name}`",
    )
