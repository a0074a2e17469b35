"""Deploy store: the part of a state store that remembers versions of deployed apps and environments, in a database or in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from squall.model.deploy import VersionState
from squall.model.ids import AppId
from squall.state import deploy_rows
from squall.state.deploy_records import MOST_VERSIONS, EnvironmentRecord, VersionRecord
from squall.state.group_commit import GroupCommit
from squall.state.readers import Readers


class DeployStore(Protocol):
    """See `squall.state.state_store.StateStore`, whose promises hold here too."""

    async def record_version(self, version: VersionRecord) -> int:
        """Records a version, and gives its number: the next of its app. Sent again, it keeps the number that it has.

        Of those that are over, the oldest beyond MOST_VERSIONS of an app are forgotten.
        """
        ...

    async def set_version(self, app: AppId, state: VersionState, *, at_s: float, why: str = "") -> bool:
        """Records where a version stands; whether it was not over before."""
        ...

    async def switch_version(self, app: AppId) -> bool:
        """Records that a version serves that was being prepared, and that the one which served drains: both, or neither.

        Whether it serves now.
        """
        ...

    async def versions(
        self, *, environment: str | None = None, name: str | None = None
    ) -> tuple[VersionRecord, ...]:
        """Versions without their content, by environment and app, the newest first."""
        ...

    async def version(self, app: AppId) -> VersionRecord | None:
        """A version with its content."""
        ...

    async def set_version_content(self, app: AppId, content: str) -> None:
        """Records what a version is made of from now on; nothing where there is no such version."""
        ...

    async def version_contents(self) -> tuple[str, ...]:
        """What every version on record is made of."""
        ...

    async def record_environment(self, environment: EnvironmentRecord) -> bool:
        """Records an environment; whether it is new."""
        ...

    async def environments(self) -> tuple[EnvironmentRecord, ...]:
        """The environments that were made, by name."""
        ...

    async def rename_environment(self, name: str, new: str) -> bool:
        """Gives an environment another name, and with it all that is in it; whether it was there, and none of the new name."""
        ...

    async def drop_environment(self, name: str) -> bool:
        """Forgets an environment with all that was deployed there.

        Whether it was there, nothing in it has anything to do, and nothing is kept there by its name.
        """
        ...


class RowDeploys:
    """A DeployStore in a database, whose writer and readers whoever inherits it has made."""

    _writer: GroupCommit
    _readers: Readers

    async def record_version(self, version: VersionRecord) -> int:
        return await self._writer.send(
            lambda db: deploy_rows.put_version(db, version), size=len(version.content)
        )

    async def set_version(self, app: AppId, state: VersionState, *, at_s: float, why: str = "") -> bool:
        return await self._writer.send(lambda db: deploy_rows.put_version_state(db, app, state, at_s, why))

    async def switch_version(self, app: AppId) -> bool:
        return await self._writer.send(lambda db: deploy_rows.put_switch(db, app))

    async def versions(
        self, *, environment: str | None = None, name: str | None = None
    ) -> tuple[VersionRecord, ...]:
        return await self._readers.read(lambda db: deploy_rows.list_versions(db, environment, name))

    async def version(self, app: AppId) -> VersionRecord | None:
        return await self._readers.read(lambda db: deploy_rows.get_version(db, app))

    async def set_version_content(self, app: AppId, content: str) -> None:
        await self._writer.send(
            lambda db: deploy_rows.put_version_content(db, app, content), size=len(content)
        )

    async def version_contents(self) -> tuple[str, ...]:
        return await self._readers.read(deploy_rows.list_contents)

    async def record_environment(self, environment: EnvironmentRecord) -> bool:
        return await self._writer.send(lambda db: deploy_rows.put_environment(db, environment))

    async def environments(self) -> tuple[EnvironmentRecord, ...]:
        return await self._readers.read(deploy_rows.list_environments)

    async def rename_environment(self, name: str, new: str) -> bool:
        return await self._writer.send(lambda db: deploy_rows.put_environment_name(db, name, new))

    async def drop_environment(self, name: str) -> bool:
        return await self._writer.send(lambda db: deploy_rows.drop_environment(db, name))


class MemoryDeploys:
    """A DeployStore in dicts."""

    def __init__(self) -> None:
        super().__init__()
        self._versions: dict[AppId, VersionRecord] = {}
        self._environments: dict[str, EnvironmentRecord] = {}

    async def record_version(self, version: VersionRecord) -> int:
        self._open()
        known = self._versions.get(version.app)
        if known is not None:
            return known.number
        others = [one for one in self._versions.values() if one.deployed == version.deployed]
        number = max((one.number for one in others), default=0) + 1
        self._versions[version.app] = replace(version, number=number)
        for one in others:
            if one.number <= number - MOST_VERSIONS and not one.state.open:
                del self._versions[one.app]
        return number

    async def set_version(self, app: AppId, state: VersionState, *, at_s: float, why: str = "") -> bool:
        self._open()
        known = self._versions.get(app)
        if known is None or not known.state.open:
            return False
        ended_s = None if state.open else at_s
        self._versions[app] = replace(known, state=state, ended_s=ended_s, why=why)
        return True

    async def switch_version(self, app: AppId) -> bool:
        self._open()
        known = self._versions.get(app)
        if known is None or known.state is not VersionState.PREPARING:
            return known is not None and known.state is VersionState.SERVING
        for one in list(self._versions.values()):
            if one.deployed == known.deployed and one.state is VersionState.SERVING:
                self._versions[one.app] = replace(one, state=VersionState.DRAINING)
        self._versions[app] = replace(known, state=VersionState.SERVING)
        return True

    async def versions(
        self, *, environment: str | None = None, name: str | None = None
    ) -> tuple[VersionRecord, ...]:
        self._open()
        kept = [
            replace(one, content="")
            for one in self._versions.values()
            if environment in (None, one.environment) and name in (None, one.name)
        ]
        return tuple(sorted(kept, key=lambda one: (one.environment, one.name, -one.number)))

    async def version(self, app: AppId) -> VersionRecord | None:
        self._open()
        return self._versions.get(app)

    async def set_version_content(self, app: AppId, content: str) -> None:
        self._open()
        if app in self._versions:
            self._versions[app] = replace(self._versions[app], content=content)

    async def version_contents(self) -> tuple[str, ...]:
        self._open()
        return tuple(one.content for one in self._versions.values())

    async def record_environment(self, environment: EnvironmentRecord) -> bool:
        self._open()
        return self._environments.setdefault(environment.name, environment) is environment

    async def environments(self) -> tuple[EnvironmentRecord, ...]:
        self._open()
        return tuple(self._environments[name] for name in sorted(self._environments))

    async def rename_environment(self, name: str, new: str) -> bool:
        self._open()
        if name not in self._environments or new in self._environments:
            return False
        self._environments[new] = replace(self._environments.pop(name), name=new)
        for one in [one for one in self._versions.values() if one.environment == name]:
            self._versions[one.app] = replace(one, environment=new)
        self._forget_about(new)  # of one that had this name before
        self._move_kept(name, new)
        return True

    async def drop_environment(self, name: str) -> bool:
        self._open()
        inside = [one for one in self._versions.values() if one.environment == name]
        if name not in self._environments or any(one.state.open for one in inside) or self._keeps(name):
            return False
        del self._environments[name]
        for one in inside:
            del self._versions[one.app]
        self._forget_about(name)
        return True

    def _open(self) -> None:
        """Raises StoreClosed; see `MemoryState`."""
        raise NotImplementedError

    def _move_kept(self, name: str, new: str) -> None:
        """Has what is kept in one environment be in another; see `MemoryState`."""
        raise NotImplementedError

    def _forget_about(self, environment: str) -> None:
        """Forgets the schedules and budgets of one that is not there; see `MemoryState`."""
        raise NotImplementedError

    def _keeps(self, environment: str) -> bool:
        """Whether anything is kept there by its name; see `MemoryState`."""
        raise NotImplementedError
