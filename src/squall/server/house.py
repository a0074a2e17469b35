"""The house: the parts of one server, wired, and what concerns them all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from squall.blobs.blob_store import LocalBlobStore
from squall.model.container import ContainerState, WaitReason
from squall.model.errors import Error, NotFoundError
from squall.model.function import Function
from squall.model.ids import AppId, CallId, FunctionId, NodeId
from squall.model.node import Node
from squall.scheduling.budgets import Standing
from squall.scheduling.liveness import Patience
from squall.server.access import Access
from squall.server.addressing import Addressing
from squall.server.apps import Apps
from squall.server.awaited import Awaited
from squall.server.awake import Awake
from squall.server.backups import Backups
from squall.server.budgets import Budgets
from squall.server.calls import Calls
from squall.server.capacity import Capacity
from squall.server.collecting import Collecting
from squall.server.containers import Containers
from squall.server.deploys import Deploys
from squall.server.durable import Durable
from squall.server.environments import Environments
from squall.server.ephemerals import Ephemerals
from squall.server.image_names import ImageNames
from squall.server.ledger import Ledger
from squall.server.listening import Listening
from squall.server.logs import Logs
from squall.server.master_keys import MasterKeys
from squall.server.node_events import NodeEvents
from squall.server.nodes import AgentNodes, Event
from squall.server.pending import PendingLimits
from squall.server.permits import Caller
from squall.server.price_file import PriceFile
from squall.server.records import AppRecord, FunctionRecord, Worker
from squall.server.schedules import Schedules
from squall.server.sharing import Sharing
from squall.server.slow_starts import why_waits
from squall.server.sweeps import Sweeps
from squall.server.variants import Variants
from squall.server.vault import Vault
from squall.server.volumes import Volumes
from squall.settings.options import Options
from squall.settings.paths import StatePaths
from squall.state.log_store import LogStore
from squall.state.sqlite_backup import backup_directory
from squall.state.state_store import StateStore
from squall.wire.channel import Channel
from squall.wire.codec import Frame
from squall.wire.session import Session
from squall.wire.stream import Stream

_log = logging.getLogger("squall.server")


WAIT_TOLD_S = 1.0
START_TOLD_S = 3.0
RETURN_S = 2.0
LAST_WORDS_S = 60.0
"""How long containers may take to end beyond their grace, until it is forgotten what is secret in what they say."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What the server keeps things in."""

    blobs: LocalBlobStore
    state: StateStore
    logs: LogStore
    paths: StatePaths


class House:
    """Everything that handlers reach. `end` is set when the server shall go."""

    def __init__(self, stores: Stores, options: Options, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        self.options = options
        self.blobs = stores.blobs
        self.state = stores.state
        self.log_store = stores.logs
        self.clock: Callable[[], float] = loop.time
        self.later = loop.call_later
        self.end = asyncio.Event()
        self.ends_apps = False
        self.patience = Patience(
            heartbeat_s=options.heartbeat_s,
            suspect_after_s=options.suspect_after_s,
            dead_after_s=options.dead_after_s,
        )
        self.connections: set[Any] = set()
        self.access = Access(stores.state)
        self.vault = Vault(stores.state, _master_keys(stores, options))
        self.listening = Listening(stores.paths, self.access, self._let_in)
        self.connect: Callable[[Channel, Caller], object] = lambda channel, _caller: channel.close()
        self.nodes = AgentNodes(clock=self.clock)
        self.calls = Calls(
            clock=self.clock,
            later=self.later,
            wake=self._wake,
            limits=PendingLimits(inputs=int(options.pending_inputs), size_bytes=int(options.pending_bytes)),
        )
        self.capacity = Capacity(self.calls, self.nodes, clock=self.clock)
        self.containers = Containers(self.calls, clock=self.clock, wake=self._wake)
        self.capacity.most_containers = int(options.most_containers)
        self.containers.largest_value = options.max_value_bytes
        self.containers.most_losses = int(options.lost_retries)
        self.containers.slow_start_s = options.slow_start_s
        self.containers.say = self._say_in_log
        self.capacity.containers = self.containers
        self.apps = Apps(self.calls, self.capacity, self.nodes, stores.blobs, clock=self.clock)
        self.variants = Variants(self.apps, stores.state)
        self.addressing = Addressing(self.calls, self.variants)
        self.deploys = Deploys(self.apps, self.capacity, stores.state, stores.blobs, self.addressing)
        self.image_names = ImageNames(stores.state, self.apps.find_image)
        self.sharing = Sharing(stores.state, later=self.later, spawn=self.spawn)
        self.volumes = Volumes(stores.state, stores.blobs)
        self.ephemeral_volumes = Ephemerals(self.volumes.drop, later=self.later, spawn=self.spawn)
        self.environments = Environments(stores.state, self.deploys, self.sharing, self.vault)
        self.logs = Logs(self)
        self.node_events = NodeEvents(self.calls, self.capacity, self.containers, self.later)
        self.awaited = Awaited()
        self.sweeps = Sweeps(stores.state, stores.logs, options, self._sweep_secrets)
        self.collecting = Collecting(stores.blobs, stores.state, stores.paths, options, self.running)
        self.backups = Backups(stores.state, backup_directory(stores.paths.database), options)
        self.durable = Durable(stores.state, stores.blobs, self.calls)
        self.durable.keep_s = options.result_keep_s
        self.schedules = Schedules(stores.state, self.durable, self.addressing)
        self.started_s = time.time()
        self._began_s = self._idle_since_s = self.clock()
        self._tasks = tasks
        self._answers: set[asyncio.Task[None]] = set()
        self.ledger = Ledger(stores.state, self.durable, clock=self.clock)
        self.budgets = self._open_budgets(stores)
        self._introduce(Awake(loop))

    def _open_budgets(self, stores: Stores) -> Budgets:
        file = self.options.price_file
        prices = PriceFile(Path(file) if file else stores.paths.prices)
        return Budgets(stores.state, self.calls, self.ledger, prices)

    def _introduce(self, awake: Awake) -> None:
        """Has the parts know each other: who is told of what."""
        self.budgets.tell, self.budgets.wake = self._tell_budget, self._wake
        self.access.on_change = self._put_out
        self.node_events.dead_after_s = self.options.dead_after_s
        self.node_events.joined = self._on_joined
        self.node_events.alone = self.apps.preparing.joined.clear
        self.node_events.dropped = self.awaited.release_all
        # Once all is known that was made known with its function.
        self.node_events.claimed = lambda container: self.later(0.0, self.awaited.release, container)
        self.capacity.keep = self.node_events.kept
        self.capacity.looked = self._looked
        self.deploys.spawn, self.deploys.answer = self.spawn, self.answer
        self.deploys.clock, self.deploys.later = self.clock, self.later
        self.schedules.clock, self.schedules.warm = self.clock, self.capacity.expect
        self.schedules.admit = self.budgets.admit_durable
        self.deploys.served = self.schedules.changed
        self.environments.renamed = self._environment_renamed
        self.capacity.placed_on = self._make_ready_on
        self.capacity.returning_s = self._returning_s
        self.apps.added = self._on_function
        self.apps.preparing.failed = self.node_events.could_not_prepare
        self.calls.on_dropped = self._note_dropped
        self.calls.on_stopped = self._note_stopped
        self.calls.on_lease = awake.touch
        self.calls.on_over = self.ledger.call_over
        self.nodes.listen(self.node_events.take)
        self.nodes.on_logs = self.logs.take
        self.containers.lifted = self.ledger.container_over
        self.containers.changed = self._tell_progress
        self.containers.broken = self.capacity.kill
        self.containers.secrets = self.vault.values_for
        self.containers.let_go = self.logs.let_go
        self.apps.secrets, self.apps.see_secrets = self.vault.take, self._see_secrets
        self.apps.stopped = self._forget_secrets
        self.vault.changed = self._secrets_changed

    async def _environment_renamed(self, old: str, new: str) -> None:
        for record in self.calls.functions.values():
            if record.labels.environment == old:
                record.labels = replace(record.labels, environment=new)
        self.schedules.reread()
        await self.budgets.load()

    def end_all(self) -> None:
        """The server shall go, and what runs here with it."""
        self.ends_apps = True
        self.end.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs work beside everything else, for as long as the server lives."""
        return self._tasks.create_task(work)

    def answer(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs work that somebody waits for, and who will ask again: it is given up as the server ends."""
        task = self.spawn(work)
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    def give_up_answers(self) -> None:
        """The server ends: what is being made ready, or waited for, is not waited for any more."""
        for task in self._answers:
            task.cancel()

    def _note_dropped(self, call: CallId) -> None:
        """The app of a call on record has ended: the record says so, and whoever waits for it is told."""
        self.spawn(self.durable.cancel(call))

    def _note_stopped(self, function: FunctionId) -> None:
        """The app of a function has ended: its calls that waited on record end too."""
        if self.calls.functions[function].paged:
            self.spawn(self.durable.drop_function(function))

    def lasting(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What runs for as long as the server lives."""
        return (
            self.access.watch(),
            self.listening.reopen(),
            self.capacity.run(),
            self.end_when_idle(),
            self.durable.write_outcomes(),
            self.durable.page(),
            self.nodes.watch(self.patience),
            self.sweeps.run(),
            self.collecting.run(),
            self.backups.run(),
            self.sharing.forget_unclaimed(),
            self.ephemeral_volumes.forget_unclaimed(self.volumes.without_name),
            self.budgets.run(),
            self.schedules.run(),
        )

    def touch(self) -> None:
        """Somebody was here: the idle time starts anew."""
        self._idle_since_s = self.clock()

    def why_busy(self) -> str | None:
        """Why this server may not end now; None when nothing holds it."""
        if self.apps.apps:
            names = ", ".join(sorted({record.name for record in self.apps.apps.values()}))
            return f"running apps: {names}"
        if self.listening.address is not None:
            return f"listening on {self.listening.address}"
        if self.calls.calls:
            return f"{len(self.calls.calls)} open calls"
        return self.durable.why_busy()

    async def end_when_idle(self) -> None:
        """Sets `end` once nobody has needed this server for its idle time."""
        idle_s = self.options.idle_s
        while idle_s > 0:
            clients = any(not connection.is_agent for connection in self.connections)
            if clients or self.why_busy():
                self.touch()
            left = self._idle_since_s + idle_s - self.clock()
            if left <= 0:
                _log.info("idle for %g s: ending", idle_s)
                self.end.set()
                return
            await asyncio.sleep(min(left, idle_s))

    def _let_in(self, channel: Channel, caller: Caller) -> None:
        """Somebody has come over the network."""
        self.connect(channel, caller)

    def _put_out(self) -> None:
        """Ends the connections of those whose token has ended, or who were removed."""
        for connection in list(self.connections):
            connection.put_out_unless(good=self.access.still_good(connection.caller))

    def join(self, node: Node, session: Session, stream: Stream, head: Event) -> None:
        """An agent offers its machine, and tells what runs there."""
        self.nodes.join(node, session, stream, head)

    def _wake(self) -> None:
        self.capacity.wake()

    def _looked(self) -> None:
        self.tell_waits()
        self.deploys.look()

    def running(self) -> list[Function]:
        """The functions of every app that runs."""
        return [record.function for record in self.calls.functions.values()]

    def _returning_s(self) -> float:
        """How long to wait yet for machines that joined an earlier server: containers that they run are not to be started twice."""
        left_s = self._began_s + RETURN_S - self.clock()
        if left_s <= 0 or all(self.nodes.session_of(node.id) is not None for node in self.access.nodes):
            return 0.0
        return left_s

    async def ask_others(self, asking: Session, name: str, head: dict[str, Any]) -> Frame:
        """The first answer of an agent other than the one that asks. Raises NotFoundError where none has one."""
        asked = {key: value for key, value in head.items() if key != "t"}
        for _, session in self.nodes.sessions():
            if session is not asking:
                with contextlib.suppress(Error):
                    return await session.ask(name, asked)
        raise NotFoundError("no machine that answers has it")

    def _make_ready_on(self, node: NodeId, record: FunctionRecord) -> None:
        """A container of a function is to start on a node: that must have its image."""
        app = self.apps.apps.get(record.function.app)
        if app is not None:
            self.apps.preparing.on(node, app, record.function)

    def _on_joined(self, node: NodeId, had: list[FunctionRecord]) -> None:
        """An agent that is new knows of no image: what its node had, and what the only node needs, is made ready there again."""
        self.apps.preparing.joined.set()
        alone = len(self.nodes.rows()) == 1
        for record in self.calls.functions.values():
            if (
                alone
                or record in had
                or any(self.capacity.placed.get(name) == node for name in record.workers)
            ):
                self._make_ready_on(node, record)

    def log_apps(self) -> list[AppId]:
        """The apps whose output may be asked for: those that run, and those that ended since the server started."""
        return [*(AppId(row["id"]) for row in self.apps.ended), *self.apps.apps]

    async def _see_secrets(self, app: AppRecord, functions: list[FunctionRecord]) -> None:
        """An app is made ready: what its functions ask for is there, and what it brought is on record."""
        for record in functions:
            self.vault.check(record.function)
        await self.vault.keep(app.id, app.where)

    def _secrets_changed(self) -> None:
        for record in self.calls.functions.values():
            if record.function.secrets:
                record.function = self.vault.used_by(record.function)

    def _forget_secrets(self, app: AppRecord) -> None:
        """What came with an app goes with it; a version of a deployed one may be gone back to.

        Not before its containers have gone, whose last words are without values too.
        """
        if app.kind == "ephemeral":
            wait_s = self.options.stop_grace_s + LAST_WORDS_S
            self.later(wait_s, lambda: self.spawn(self._forget_secrets_of(app.id)))

    async def _forget_secrets_of(self, app: AppId) -> None:
        try:
            await self.vault.forget([app])
        except Error as problem:
            _log.warning("the secrets that came with %s are still on record: %s", app, problem)

    async def _sweep_secrets(self, now_s: float) -> None:
        versions = await self.state.versions()
        await self.vault.sweep({*self.apps.apps, *(row.app for row in versions)}, now_s=now_s)

    def _tell_budget(self, standing: Standing, line: str) -> None:
        """A budget is nearly used up, or is: the clients of the apps that it is for are told."""
        for app in self.apps.apps.values():
            labels = next((one.labels for one in app.functions.values()), None)
            covered = labels is not None and standing.budget.scope.covers(labels)
            if covered and app.stream is not None and app.stream.live:
                app.stream.send({"note": line})

    def _on_function(self, record: FunctionRecord) -> None:
        if record.function.secrets or record.function.buckets:
            app = self.apps.apps.get(record.function.app)
            record.function = self.vault.used_by(record.function, app.where if app is not None else "")
        self.budgets.note(record)
        self.node_events.claim(record)
        record.entering += 1
        self.spawn(self._resume(record))

    async def _resume(self, record: FunctionRecord) -> None:
        try:
            await self.durable.resume(record)
        except Error as problem:
            _log.warning("calls of %s on record could not be gone on with: %s", record.function.id, problem)
        finally:
            record.entering -= 1
            self._wake()

    def tell_waits(self) -> None:
        """Tells an app's client why inputs have been waiting for more than a second; once for each reason.

        Of a container that is starting it is told later, and once more when its start is a slow one.
        """
        now = self.clock()
        for record in self.calls.functions.values():
            if not record.line.waiting:
                record.told_reason = ""
                continue
            why = why_waits(record, now)
            slow = 0 < self.options.slow_start_s <= (why.starting_s or 0.0)
            reason = f"{why.reason} slow" if slow else str(why.reason)
            early = now - record.waiting_since_s < WAIT_TOLD_S
            if why.starting_s is not None:
                early = why.starting_s < START_TOLD_S
            if early or reason == record.told_reason:
                continue
            record.told_reason = reason
            app = self.apps.apps.get(record.function.app)
            if app is not None and app.stream is not None and app.stream.live and reason != WaitReason.BUSY:
                told = {
                    "waiting": record.line.waiting,
                    "function": record.function.name,
                    "reason": why.reason,
                }
                app.stream.send({**told, "words": why.words} if why.words else told)

    def _say_in_log(self, worker: Worker, line: str) -> None:
        """A line of ours among what a container's function prints."""
        text = line.encode()
        head = {"container": worker.id, "function": worker.function, "L": [["e", len(text), time.time()]]}
        self.logs.take(head, memoryview(text))

    def _tell_progress(self, record: FunctionRecord) -> None:
        app = self.apps.apps.get(record.function.app)
        if app is not None and app.stream is not None and app.stream.live:
            states = [worker.state for worker in record.workers.values()]
            app.stream.send(
                {
                    "containers": record.function.name,
                    "running": sum(state in (ContainerState.IDLE, ContainerState.BUSY) for state in states),
                    "starting": states.count(ContainerState.STARTING),
                }
            )


def _master_keys(stores: Stores, options: Options) -> MasterKeys:
    return MasterKeys(Path(options.master_key_file) if options.master_key_file else stores.paths.master_key)
