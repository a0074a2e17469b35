"""Deploys: apps that stay. Their versions are recorded, made ready, tried, and take each other's place as the plan says."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from squall import faults
from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.model.deploy import DeployedName, VersionState
from squall.model.errors import DeployFailed, DeploySuperseded, Error
from squall.model.ids import AppId
from squall.scheduling.deploy import Forget, GiveUp, Stage, Switch, plan_deploy
from squall.server.addressing import Addressing
from squall.server.apps import Apps
from squall.server.capacity import Capacity
from squall.server.records import AppRecord
from squall.server.versions import RETURN_S, Version
from squall.state.deploy_records import VersionRecord
from squall.state.state_store import StateStore
from squall.wire.stream import Stream

_log = logging.getLogger("squall.server")

_RECORDED = faults.declare("deploy.recorded", "a version is on record, and nothing has been made ready")
_READY = faults.declare("deploy.ready", "a version could take calls, and it is not on record that it does")
_SWITCHED = faults.declare("deploy.switched", "it is on record that a version serves, and nobody was told")
_DRAINED = faults.declare("deploy.drained", "a version has ended its calls, and on record it has some")


class Deploys:
    """Every deployed app. spawn: runs work beside everything else, to its end; answer: work that the server's end breaks off.

    Woken with the control path: `look` is called whenever containers have been planned.
    """

    def __init__(
        self, apps: Apps, capacity: Capacity, state: StateStore, blobs: BlobStore, addressing: Addressing
    ) -> None:
        self.addressing = addressing
        self.spawn: Callable[[Coroutine[Any, Any, None]], object] = _not_yet
        self.answer: Callable[[Coroutine[Any, Any, None]], object] = _not_yet
        self.clock: Callable[[], float] = time.monotonic
        self.later: Callable[..., object] = lambda _delay_s, _callback: None
        self._moving: set[DeployedName] = set()
        self._apps = apps
        self._capacity = capacity
        self._state = state
        self._blobs = blobs

    @property
    def versions(self) -> dict[AppId, Version]:
        """Those in memory."""
        return self.addressing.versions

    async def load(self) -> None:
        """Takes up what an earlier server has left: versions that serve or drain, and those that it was preparing."""
        for row in await self._state.versions():
            known = await self._state.version(row.app) if row.state.open else None
            try:
                if known is not None:
                    await self._take_up(known)
            except Error as problem:
                _log.error("version %d of %s cannot be taken up: %s", row.number, row.deployed, problem)

    async def _take_up(self, row: VersionRecord) -> None:
        version = self._known(row)
        if row.state is VersionState.PREPARING:
            self._begin(version)
            return
        version.state, version.prepared = row.state, True
        version.returning_s = self.clock() + RETURN_S
        if row.state is VersionState.SERVING:
            self.addressing.serving[version.deployed] = version
        for one in version.functions:
            if one.function.code.pickled is not None:
                one.pickled = await self._blobs.get(Digest(one.function.code.pickled))
        self.later(RETURN_S, self._capacity.wake)

    async def deploy(self, row: VersionRecord, stream: Stream) -> None:
        """Records a version, and sees it through to its first call; `stream` ends with what became of it.

        Sent again, it is the same version. Raises what the store raises.
        """
        known, number = self.versions.get(row.app), 0
        if known is None:
            number = await self._state.record_version(row)
            found = await self._state.version(row.app)
            if found is not None and found.state is not VersionState.PREPARING:
                self._answer_late(found, stream)
                return
            faults.point(_RECORDED)
            # Somebody else may have sent it meanwhile, on another connection.
            known = self.versions.get(row.app)
        if known is None:
            known = self._known(replace(row, number=number))
            self._follow(known, stream)
            self._begin(known)
            return
        self._follow(known, stream)
        if known.state is not VersionState.PREPARING:
            # It serves by now: its client lost the answer, or the server that owed it.
            _answer(known, told_of(replace(known.row, state=known.state)))

    def _known(self, row: VersionRecord) -> Version:
        content = json.loads(row.content)
        app = AppRecord(
            *(row.app, row.name, self.clock(), "deployed"),
            root=str(content.get("root", "")),
            installer=content.get("installer", {}),
        )
        app.state = row.state
        app.environment = app.secrets_in = row.environment
        app.version, app.tag = row.number, row.tag
        app.tags = content.get("tags", {})
        described = [
            {**plain, "id": f"{row.app}/{plain['name']}", "app": row.app}
            for plain in (*content["functions"], *content.get("variants", ()))
        ]
        self._apps.take(app, described)
        version = self.versions[row.app] = Version(replace(row, content=""), app)
        version.bound(Stage.ASLEEP if row.state is VersionState.PREPARING else Stage.OWN)
        self._moving.add(version.deployed)
        return version

    def _follow(self, version: Version, stream: Stream) -> None:
        """A client waits for what becomes of a version."""
        version.stream = version.app.stream = stream

    def _begin(self, version: Version) -> None:
        self.answer(self._prepare(version))

    async def _prepare(self, version: Version) -> None:
        """Has images built and sources laid out on a node; what goes wrong there is the version's end."""
        try:
            if version.functions:
                await self._apps.make_ready(version.app, version.functions, lambda told: _tell(version, told))
        except Error as problem:
            version.error = problem
        except (KeyError, TypeError, ValueError, OSError) as problem:
            version.error = DeployFailed.like(problem, version=version.row.number)
        version.prepared = True
        self._capacity.wake()

    def give_up(self, app: AppId, why: str) -> None:
        """Nobody wants a version any more that is not ready yet."""
        version = self.versions.get(app)
        if version is not None and version.state is VersionState.PREPARING and not version.switching:
            version.error = DeployFailed(f"version {version.row.number} of {version.deployed}: {why}")
            self._capacity.wake()

    # -- look, plan, apply

    def look(self) -> None:
        """Sees how far versions are, and has them take each other's place. Costs nothing while each app has one that serves."""
        for name in sorted(self._moving):
            versions = [one for one in self.versions.values() if one.deployed == name]
            if not self._look_at(name, versions) and all(
                one.state is VersionState.SERVING for one in versions
            ):
                self._moving.discard(name)

    def _look_at(self, name: DeployedName, versions: Sequence[Version]) -> bool:
        """Whether anything was changed."""
        now, news = self.clock(), False
        decided = plan_deploy([one.seen(now) for one in versions])
        for version in versions:
            stage = decided.stages[version.app.id]
            news |= version.bound(stage)
            if stage is Stage.LEAVING:
                for worker in version.idle():
                    self._capacity.retire(worker)
            if version.state is VersionState.PREPARING and version.prepared:
                _say_wait(version, versions)
        if decided.holds:
            self.addressing.hold(name)
        else:
            self.addressing.release(name)
        for step in decided.steps:
            self._apply(self.versions[step.app], step)
        if news or decided.steps:
            self._capacity.wake()
        return news or bool(decided.steps)

    def _apply(self, version: Version, step: Switch | GiveUp | Forget) -> None:
        match step:
            case Switch():
                version.switching = True
                self.spawn(self._switch(version))
            case GiveUp(superseded=superseded):
                error = version.failure()
                if superseded or error is None:
                    error = DeploySuperseded(
                        f"a version of {version.deployed} that is newer than {version.row.number} serves already"
                    )
                self._leave_memory(version, VersionState.FAILED)
                self.spawn(self._fail(version, error))
            case Forget():
                self._leave_memory(version, VersionState.SUPERSEDED)
                self.spawn(self._record_end(version, VersionState.SUPERSEDED))

    async def _switch(self, version: Version) -> None:
        """It serves: on record first, then for new calls, then its client hears of it."""
        faults.point(_READY)
        try:
            serves = await self._state.switch_version(version.app.id)
        except Error as problem:
            version.error, version.switching = problem, False
            self._capacity.wake()
            return
        faults.point(_SWITCHED)
        version.switching = False
        if not serves or version.app.id not in self.versions:
            return  # it was stopped meanwhile
        self._moving.add(version.deployed)
        before = self.addressing.serving.get(version.deployed)
        if before is not None:
            before.state = before.app.state = VersionState.DRAINING
        version.state = version.app.state = VersionState.SERVING
        version.error = None
        version.bound(Stage.OWN)
        self.addressing.serving[version.deployed] = version
        self.addressing.release(version.deployed)
        _answer(version, told_of(replace(version.row, state=VersionState.SERVING)))
        self._capacity.wake()

    async def _fail(self, version: Version, error: Error) -> None:
        """It never serves: that is on record, and its client hears why."""
        await self._record_end(version, VersionState.FAILED, why=error.message)
        if version.stream is not None and version.stream.live:
            version.stream.fail(error)
        _log.warning("version %d of %s failed: %s", version.row.number, version.deployed, error)

    def _leave_memory(self, version: Version, state: VersionState) -> None:
        """Its containers go, and what may still be of its calls ends."""
        del self.versions[version.app.id]
        if self.addressing.serving.get(version.deployed) is version:
            del self.addressing.serving[version.deployed]
        version.app.stream = None
        version.state = state
        self._apps.stop(version.app.id, why=state)

    async def _record_end(self, version: Version, state: VersionState, why: str = "") -> None:
        faults.point(_DRAINED)
        try:
            await self._state.set_version(version.app.id, state, at_s=time.time(), why=why)
        except Error as problem:
            _log.warning("that version %s is %s could not be recorded: %s", version.app.id, state, problem)

    async def stop(self, name: DeployedName) -> int:
        """Stops a deployed app, all versions of it; how many containers were told to go. Raises what the store raises."""
        going = [one for one in self.versions.values() if one.deployed == name]
        for version in going:
            await self._state.set_version(version.app.id, VersionState.STOPPED, at_s=time.time())
        containers = sum(len(one.workers) for version in going for one in version.functions)
        for version in going:
            if version.app.id in self.versions:
                self._leave_memory(version, VersionState.STOPPED)
                if version.stream is not None and version.stream.live:
                    version.stream.fail(DeployFailed(f"{name} was stopped while it was being deployed"))
        self.addressing.release(name)
        return containers

    def rest(self) -> None:
        """The server ends with what it runs: containers go, and calls on record go on with the next server."""
        for version in self.versions.values():
            self._apps.end_containers(version.app)
        self._capacity.tell()

    def _answer_late(self, row: VersionRecord, stream: Stream) -> None:
        """A client asks again for a version whose fate is decided."""
        if row.state in {VersionState.FAILED, VersionState.STOPPED}:
            raise DeployFailed(
                row.why or f"version {row.number} of {row.deployed} was stopped", version=row.number
            )
        stream.end(told_of(row))


def told_of(row: VersionRecord) -> dict[str, Any]:
    """A version in words for clients, a row of `squall app history`."""
    return {
        "id": row.app,
        "app": row.name,
        "environment": row.environment,
        "version": row.number,
        "state": str(row.state),
        "created_s": row.created_s,
        "ended_s": row.ended_s,
        "strategy": row.strategy,
        "tag": row.tag,
        "who": row.who,
        "rolled_back_to": row.copy_of or None,
        "functions": list(row.functions),
        "why": row.why,
    }


def _answer(version: Version, told: dict[str, Any]) -> None:
    stream, version.stream, version.app.stream = version.stream, None, None
    if stream is not None and stream.live:
        stream.end(told)


def _tell(version: Version, told: dict[str, Any]) -> None:
    if version.stream is not None and version.stream.live:
        version.stream.send(told)


def _say_wait(version: Version, versions: Sequence[Version]) -> None:
    why = version.waits_for(versions)
    if why and why != version.told:
        version.told = why
        _tell(version, {"note": f"version {version.row.number} is not ready yet: {why}"})


def _not_yet(work: Coroutine[Any, Any, None]) -> None:
    work.close()
