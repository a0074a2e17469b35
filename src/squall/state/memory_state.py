"""Memory state: a state store that ends with its process, for tests and simulation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from squall.model.call import CallState, OutcomeKind
from squall.model.errors import CallConflict, FeatureUnavailable, StoreClosed
from squall.model.ids import AppId, CallId, ContainerId, FunctionId, NodeId, TokenId
from squall.state.deploy_store import MemoryDeploys
from squall.state.records import (
    MOST_NAMINGS,
    AppRecord,
    AppState,
    BusyRecord,
    CallRecord,
    ContainerRecord,
    DeadLetter,
    FunctionRecord,
    History,
    InputChunk,
    LayerRecord,
    Naming,
    NodeRecord,
    OpenCall,
    OutcomeRecord,
    Swept,
    TokenRecord,
    Usage,
)
from squall.state.sharing.memory_sharing import MemorySharing
from squall.state.spans import Span, holds, joined, runs, without
from squall.state.volumes.memory_volumes import MemoryVolumes


@dataclass(slots=True)
class _Call:
    record: CallRecord
    chunks: dict[int, InputChunk] = field(default_factory=dict)
    outcomes: dict[int, OutcomeRecord] = field(default_factory=dict)
    tried: dict[int, int] = field(default_factory=dict)

    def spans(self) -> list[Span]:
        return [(start, self.chunks[start].stop) for start in sorted(self.chunks)]


class MemoryState(MemoryDeploys, MemorySharing, MemoryVolumes):
    """A StateStore in dicts."""

    def __init__(self) -> None:
        super().__init__()
        self._apps: dict[AppId, AppRecord] = {}
        self._functions: dict[FunctionId, FunctionRecord] = {}
        self._calls: dict[CallId, _Call] = {}
        self._containers: dict[ContainerId, ContainerRecord] = {}
        self._busy: dict[tuple[ContainerId, CallId, float], BusyRecord] = {}
        self._layers: dict[str, LayerRecord] = {}
        self._namings: dict[str, list[Naming]] = {}
        self._tokens: dict[TokenId, TokenRecord] = {}
        self._nodes: dict[NodeId, NodeRecord] = {}
        self._closed = False

    async def record_app(self, app: AppRecord, functions: Sequence[FunctionRecord] = ()) -> None:
        self._open()
        self._apps[app.id] = app
        self._functions.update({one.id: one for one in functions})

    async def end_app(self, app: AppId, *, at_s: float) -> bool:
        self._open()
        known = self._apps.get(app)
        if known is None or known.state is not AppState.RUNNING:
            return False
        self._apps[app] = replace(known, state=AppState.STOPPED, ended_s=at_s)
        return True

    async def apps(self, *, ended: bool = False) -> tuple[AppRecord, ...]:
        self._open()
        kept = [app for app in self._apps.values() if ended or app.state is AppState.RUNNING]
        return tuple(sorted(kept, key=lambda app: (app.created_s, app.id)))

    async def functions(self, app: AppId) -> tuple[FunctionRecord, ...]:
        self._open()
        kept = [one for one in self._functions.values() if one.app == app]
        return tuple(sorted(kept, key=lambda one: (one.name, one.id)))

    async def record_call(self, call: CallRecord, chunks: Sequence[InputChunk] = ()) -> None:
        self._open()
        if not call.durable:
            raise ValueError(f"a {call.verb} is not durable: its summary goes to the history")
        known = self._calls.get(call.id)
        if known is None:
            known = _Call(replace(call, done=0, failed=0, state=CallState.OPEN, ended_s=None))
        record = known.record
        if (record.function, record.verb) != (call.function, call.verb):
            raise CallConflict(f"{call.id} is a {record.verb} of {record.function} on record", call=call.id)
        if not record.open:
            return
        if None not in {record.inputs, call.inputs} and record.inputs != call.inputs:
            raise CallConflict(f"{call.id} has {record.inputs} inputs, not {call.inputs}", call=call.id)
        inputs = call.inputs if record.inputs is None else record.inputs
        last = max([chunk.stop for chunk in chunks] + [stop for _, stop in known.spans()], default=0)
        if inputs is not None and last > inputs:
            raise CallConflict(f"{call.id} has {inputs} inputs, and one beyond them came", call=call.id)
        for chunk in chunks:
            for start, stop in list(without([(chunk.start, chunk.stop)], known.spans())):
                part = chunk.cut(start, stop)
                known.chunks[start] = replace(part, payload=bytes(part.payload))
        known.record = replace(record, inputs=inputs)
        self._calls[call.id] = known
        if inputs is not None and record.done >= inputs:
            at_s = max((outcome.ended_s for outcome in known.outcomes.values()), default=call.created_s)
            known.record = replace(known.record, state=CallState.ENDED, ended_s=at_s)

    async def record_outcomes(self, call: CallId, items: Sequence[OutcomeRecord]) -> tuple[int, ...]:
        self._open()
        known = self._calls.get(call)
        if known is None or not known.record.open:
            return ()
        won: list[OutcomeRecord] = []
        spans = known.spans()
        for item in items:
            late = item.attempt <= known.tried.get(item.index, 0)
            if not late and holds(spans, item.index) and item.index not in known.outcomes:
                known.outcomes[item.index] = replace(item, payload=bytes(item.payload))
                won.append(item)
        failed = sum(item.kind != OutcomeKind.RETURNED for item in won)
        record = known.record = replace(
            known.record, done=len(known.outcomes), failed=known.record.failed + failed
        )
        if won and record.inputs is not None and record.done >= record.inputs:
            at_s = max(item.ended_s for item in won)
            known.record = replace(record, state=CallState.ENDED, ended_s=at_s)
        return tuple(item.index for item in won)

    async def dead_letters(
        self, *, call: CallId | None = None, name: str | None = None, start: int = 0, limit: int = 100
    ) -> tuple[DeadLetter, ...]:
        self._open()
        found = [
            DeadLetter(
                call=known.record.id,
                function=known.record.function,
                index=index,
                attempt=one.attempt,
                kind=one.kind,
                code=one.code,
                ended_s=one.ended_s,
            )
            for known in reversed(self._calls.values())
            if call in {None, known.record.id}
            and (name is None or known.record.function.endswith(f"/{name}"))
            for index, one in sorted(known.outcomes.items())
            if one.dead and index >= start
        ]
        return tuple(found[:limit])

    async def replay(self, call: CallId, *, indexes: Collection[int] | None = None) -> tuple[int, ...]:
        self._open()
        known = self._calls.get(call)
        if known is None or not known.record.durable or known.record.state is not CallState.ENDED:
            return ()
        dead = [index for index, one in sorted(known.outcomes.items()) if one.dead]
        again = [index for index in dead if indexes is None or index in indexes]
        for index in again:
            known.tried[index] = known.outcomes.pop(index).attempt
        if again:
            done, failed = known.record.done - len(again), known.record.failed - len(again)
            known.record = replace(known.record, done=done, failed=failed, state=CallState.OPEN, ended_s=None)
        return tuple(again)

    async def children(self, call: CallId, *, start: int = 0, limit: int = 1000) -> tuple[CallRecord, ...]:
        self._open()
        found = [known.record for known in self._calls.values() if known.record.parent.startswith(f"{call}:")]
        return tuple(found[start : start + limit])

    async def end_call(self, call: CallId, *, state: CallState, at_s: float) -> bool:
        self._open()
        if state is CallState.OPEN:
            raise ValueError("a call does not end as open")
        known = self._calls.get(call)
        if known is None or not known.record.open:
            return False
        known.record = replace(known.record, state=state, ended_s=at_s)
        return True

    async def call(self, call: CallId) -> CallRecord | None:
        self._open()
        known = self._calls.get(call)
        return None if known is None else known.record

    async def calls(self, *, function: FunctionId | None = None, limit: int = 100) -> tuple[CallRecord, ...]:
        self._open()
        records = [known.record for known in reversed(self._calls.values())]
        return tuple([record for record in records if function in {None, record.function}][:limit])

    async def open_calls(
        self, *, function: FunctionId | None = None, call: CallId | None = None
    ) -> tuple[OpenCall, ...]:
        self._open()
        return tuple(
            OpenCall(
                call=known.record,
                missing=tuple(without(joined(known.spans()), runs(sorted(known.outcomes)))),
                tried={index: last for index, last in known.tried.items() if index not in known.outcomes},
            )
            for known in self._calls.values()
            if known.record.durable
            and known.record.open
            and function in {None, known.record.function}
            and call in {None, known.record.id}
        )

    async def inputs(self, call: CallId, *, start: int, stop: int) -> tuple[InputChunk, ...]:
        self._open()
        known = self._calls.get(call)
        spans = [] if known is None else known.spans()
        return tuple(
            known.chunks[low].cut(max(start, low), min(stop, high))
            for low, high in spans
            if known is not None and max(start, low) < min(stop, high)
        )

    async def outcomes(self, call: CallId, *, start: int, stop: int) -> tuple[OutcomeRecord, ...]:
        self._open()
        known = self._calls.get(call)
        kept = {} if known is None else known.outcomes
        return tuple(kept[index] for index in sorted(kept) if start <= index < stop)

    def history(self, batch: Sequence[History]) -> None:
        self._open()
        for one in batch:
            if isinstance(one, ContainerRecord):
                self._containers[one.id] = one
            elif isinstance(one, BusyRecord):
                self._busy[one.container, one.call, one.since_s] = one
            elif one.durable:
                raise ValueError(f"a {one.verb} is durable: it is recorded with `record_call`")
            elif one.id not in self._calls or not self._calls[one.id].record.durable:
                self._calls[one.id] = _Call(one)

    @property
    def where(self) -> str:
        return "memory"

    @property
    def trouble(self) -> str | None:
        return None

    @property
    def history_lost(self) -> int:
        return 0

    async def containers(
        self, *, function: FunctionId | None = None, limit: int = 100
    ) -> tuple[ContainerRecord, ...]:
        self._open()
        kept = [one for one in reversed(self._containers.values()) if function in {None, one.function}]
        return tuple(kept[:limit])

    async def busy(self, call: CallId) -> tuple[BusyRecord, ...]:
        self._open()
        return tuple(one for key, one in sorted(self._busy.items()) if key[1] == call)

    async def usage(self, *, since_s: float, until_s: float) -> tuple[Usage, ...]:
        self._open()
        ended: dict[FunctionId, list[ContainerRecord]] = {}
        for one in self._containers.values():
            if one.ended_s is not None and since_s <= one.ended_s < until_s:
                ended.setdefault(one.function, []).append(one)
        return tuple(_usage(function, ended[function]) for function in sorted(ended))

    async def record_layer(self, layer: LayerRecord) -> None:
        self._open()
        self._layers[layer.key] = layer

    async def use_layers(self, keys: Collection[str], *, at_s: float) -> None:
        self._open()
        for key in self._layers.keys() & set(keys):
            layer = self._layers[key]
            self._layers[key] = replace(layer, used_s=max(layer.used_s, at_s))

    async def forget_layer(self, key: str) -> bool:
        self._open()
        return self._layers.pop(key, None) is not None

    async def layers(self) -> tuple[LayerRecord, ...]:
        self._open()
        return tuple(sorted(self._layers.values(), key=lambda layer: (layer.used_s, layer.key)))

    async def record_naming(self, naming: Naming) -> bool:
        self._open()
        if any(one.id == naming.id for known in self._namings.values() for one in known):
            return False
        known = self._namings.get(naming.name, [])
        if naming.key == (known[-1].key if known else ""):
            return False
        self._namings[naming.name] = [*known, naming][-MOST_NAMINGS:]
        return True

    async def image_names(self) -> tuple[Naming, ...]:
        self._open()
        now = [known[-1] for known in self._namings.values()]
        return tuple(sorted((one for one in now if one.key), key=lambda one: one.name))

    async def namings(self, name: str) -> tuple[Naming, ...]:
        self._open()
        return tuple(reversed(self._namings.get(name, [])))

    async def record_token(self, token: TokenRecord) -> None:
        self._open()
        self._tokens.setdefault(token.id, token)

    async def tokens(self) -> tuple[TokenRecord, ...]:
        self._open()
        return tuple(sorted(self._tokens.values(), key=lambda token: (token.created_s, token.id)))

    async def revoke_token(self, token: TokenId, *, at_s: float) -> bool:
        self._open()
        known = self._tokens.get(token)
        if known is None or known.revoked_s is not None:
            return False
        self._tokens[token] = replace(known, revoked_s=at_s)
        return True

    async def use_token(self, token: TokenId, *, by: str, at_s: float) -> bool:
        self._open()
        known = self._tokens.get(token)
        if known is None or known.revoked_s is not None:
            return False
        if known.used_s is None:
            self._tokens[token] = replace(known, used_s=at_s, used_by=by)
            return True
        return known.used_by == by

    async def record_node(self, node: NodeRecord) -> None:
        self._open()
        self._nodes[node.id] = node

    async def node_records(self) -> tuple[NodeRecord, ...]:
        self._open()
        return tuple(sorted(self._nodes.values(), key=lambda node: (node.joined_s, node.id)))

    async def remove_node(self, node: NodeId, *, at_s: float) -> bool:
        self._open()
        known = self._nodes.get(node)
        if known is None or known.removed_s is not None:
            return False
        self._nodes[node] = replace(known, removed_s=at_s)
        return True

    async def blob_refs(self) -> frozenset[str]:
        self._open()
        found: set[str] = set()
        for known in self._calls.values():
            found.update(outcome.blob for outcome in known.outcomes.values() if outcome.blob is not None)
            for chunk in known.chunks.values():
                found.update(chunk.blobs.values())
        return frozenset(found)

    async def sweep(self, *, ended_before_s: float) -> Swept:
        self._open()
        calls = [call for call, known in self._calls.items() if _is_over(known.record, ended_before_s)]
        for call in calls:
            del self._calls[call]
        gone = [one for one, record in self._containers.items() if _before(record.ended_s, ended_before_s)]
        for container in gone:
            del self._containers[container]
        self._busy = {key: one for key, one in self._busy.items() if one.at_s >= ended_before_s}
        called = {known.record.function for known in self._calls.values()}
        used = {one.app for one in self._functions.values() if one.id in called}
        apps = [app.id for app in self._apps.values() if _before(app.ended_s, ended_before_s)]
        spent = [app for app in apps if app not in used]
        for app in spent:
            del self._apps[app]
        self._functions = {key: one for key, one in self._functions.items() if one.app not in set(spent)}
        names = [
            name
            for name, known in self._namings.items()
            if not known[-1].key and known[-1].at_s < ended_before_s
        ]
        for name in names:
            del self._namings[name]
        return Swept(calls=len(calls), containers=len(gone), apps=len(spent), names=len(names))

    async def back_up(self, directory: Path, *, keep: int) -> Path:  # noqa: ARG002 - the Protocol's
        raise FeatureUnavailable(
            "a record in memory has no backup",
            remedy="keep it in SQLite or in Postgres",
            feature="backup",
        )

    async def flush(self) -> None:
        self._open()

    async def close(self) -> None:
        self._closed = True

    def _open(self) -> None:
        if self._closed:
            raise StoreClosed


def _usage(function: FunctionId, ended: list[ContainerRecord]) -> Usage:
    return Usage(
        function=function,
        containers=len(ended),
        container_s=sum((one.ended_s or 0.0) - one.started_s for one in ended),
        cpu_s=sum(one.cpu_s or 0.0 for one in ended),
        cpu_kept_s=sum(one.cpu_kept_s or 0.0 for one in ended),
        memory_byte_s=sum(one.memory_byte_s or 0.0 for one in ended),
        memory_kept_byte_s=sum(one.memory_kept_byte_s or 0.0 for one in ended),
        gpu_s=sum(one.gpu_s or 0.0 for one in ended),
    )


def _is_over(call: CallRecord, instant_s: float) -> bool:
    """Whether it ended before then; what is no durable call ends with its server, of which nobody says when."""
    return _before(call.created_s if not call.durable and call.ended_s is None else call.ended_s, instant_s)


def _before(ended_s: float | None, instant_s: float) -> bool:
    return ended_s is not None and ended_s < instant_s
