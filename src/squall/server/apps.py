"""Apps: opened by a client, made ready on the nodes, ended with everything they hold."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.model.container import ContainerState
from squall.model.errors import FunctionNotFound, InvalidError, NotFoundError, ResourceExhaustedError
from squall.model.function import Function, Scaling
from squall.model.ids import APP, AppId, FunctionId, is_id
from squall.model.jsonable import from_json, to_json
from squall.model.parameters import checked, key_of
from squall.server.calls import Calls
from squall.server.capacity import Capacity
from squall.server.nodes import AgentNodes
from squall.server.preparing import Preparing, wants_of
from squall.server.records import AppRecord, FunctionRecord
from squall.wire.codec import Frame
from squall.wire.session import Session
from squall.wire.stream import Stream

CLIENT_GRACE_S = 5.0
MOST_POOLS = 1000
"""How many sets of parameters a class may be made with while its app runs: the planner looks at each of them."""


class Apps:
    """Every app that runs here.

    secrets: takes the values that an app brings; see_secrets: has them on record, and sees that functions have what they ask
    for. added, stopped: told of a function that is new, and of an app that has ended.
    """

    def __init__(
        self,
        calls: Calls,
        capacity: Capacity,
        nodes: AgentNodes,
        blobs: BlobStore,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.apps: dict[AppId, AppRecord] = {}
        self.ended: list[dict[str, Any]] = []
        self.preparing = Preparing(nodes)
        self.added: Callable[[FunctionRecord], None] = lambda _record: None
        self.secrets: Callable[[AppId, Mapping[str, Any]], None] = lambda _app, _values: None
        self.see_secrets: Callable[[AppRecord, list[FunctionRecord]], Awaitable[None]] = _none_seen
        self.stopped: Callable[[AppRecord], None] = lambda _record: None
        self._calls = calls
        self._capacity = capacity
        self._blobs = blobs
        self._clock = clock

    def open(self, stream: Stream, head: dict[str, Any], frame: Frame) -> AppRecord:
        """Takes an app from a client, or takes it up again after its connection was lost.

        Raises InvalidError for a description that does not hold together.
        """
        app = AppId(str(head.get("app")))
        if not is_id(app, APP):
            raise InvalidError(f"{app!r} is no id of an app")
        record = self.apps.get(app)
        if record is None:
            record = AppRecord(
                app,
                str(head.get("name", "")),
                self._clock(),
                root=str(head.get("root", "")),
                pid=head.get("pid"),
                secrets_in=str(head.get("environment") or ""),
            )
            self.apps[app] = record
        record.stream, record.gone_s = stream, None
        described = json.loads(bytes(frame.payload))
        record.installer = described.get("installer", {})
        self.secrets(app, described.get("secrets", {}))
        self.add_functions(record, described["functions"])
        return record

    def take(self, record: AppRecord, described: list[dict[str, Any]]) -> None:
        """Takes a version of a deployed app, which no client holds. Raises InvalidError like `open`."""
        self.apps[record.id] = record
        self.add_functions(record, described)

    def add_functions(self, record: AppRecord, described: list[dict[str, Any]]) -> list[FunctionRecord]:
        """Makes functions known that belong to an app; those known already are left as they are."""
        added: list[FunctionRecord] = []
        for plain in described:
            try:
                function = from_json(Function, plain)
            except ValueError as problem:
                raise InvalidError(
                    f"the description of a function does not hold together: {problem}"
                ) from problem
            if function.app != record.id or function.id != f"{record.id}/{function.name}":
                raise InvalidError(f"the function {function.id!r} does not belong to the app {record.id!r}")
            known = self._calls.functions.get(function.id)
            if known is None:
                known = self._calls.functions[function.id] = FunctionRecord(function)
                added.append(known)
                self.added(known)
            record.functions[function.name] = known
        return added

    def bind(self, asked: FunctionId, values: Any) -> None:
        """Makes known what a class is with these values of its parameters: a function with containers of its own.

        Its id is that of the class, "@", and the key of the values. The client is told, so that it says so too when it opens
        its app again. Raises FunctionNotFound, ParameterInvalid, and ResourceExhaustedError beyond MOST_POOLS.
        """
        if asked in self._calls.functions:
            return
        of, _, key = asked.partition("@")
        known = self._calls.functions.get(FunctionId(of))
        app = self.apps.get(known.function.app) if known is not None else None
        if known is None or app is None:
            raise FunctionNotFound(f"there is no function {asked!r} here, or its app has stopped")
        function = known.function
        found = checked(function.parameters, values, of=function.name)
        if key != key_of(found):
            raise InvalidError(f"{asked!r} is not the name of {function.name} with these parameters")
        pools = sum(name.startswith(f"{function.name}@") for name in app.functions)
        if pools >= MOST_POOLS:
            raise ResourceExhaustedError(
                f"{function.name} has {pools} sets of parameters, each with containers of its own, and may have no more",
                remedy="what differs from call to call is better an argument of its methods",
            )
        bound = replace(function, id=asked, name=f"{function.name}@{key}", values=found)
        record = self._calls.functions[asked] = FunctionRecord(
            bound, pickled=known.pickled, bounds=known.bounds
        )
        app.functions[bound.name] = record
        self.added(record)
        if app.stream is not None and app.stream.live:
            app.stream.send({"bound": to_json(bound)})

    def scale(self, known: FunctionRecord, changed: dict[str, Any]) -> Scaling:
        """Changes bounds of a function's containers until its app ends, and gives all of them.

        The client is told, so that it says so too when it opens its app again. Raises InvalidError for what is out of
        bounds; nothing is changed then.
        """
        old = {field: value for field, value in asdict(known.function.scaling).items() if value is not None}
        try:
            scaling = from_json(Scaling, {**old, **changed})
        except ValueError as problem:
            raise InvalidError(f"{known.function.name} cannot be scaled so: {problem}") from problem
        known.function = replace(known.function, scaling=scaling)
        app = self.apps.get(known.function.app)
        if app is not None and app.stream is not None and app.stream.live:
            app.stream.send({"scaled": known.function.name, "scaling": to_json(scaling)})
        self._capacity.wake()
        return scaling

    async def make_ready(
        self, record: AppRecord, functions: list[FunctionRecord], tell: Callable[[dict[str, Any]], None]
    ) -> None:
        """Has images built and sources laid out on a node, telling the client what happens.

        Raises ImageBuildError and its like, SecretNotFound and its like, NotFoundError when the source was not sent.
        """
        await self.see_secrets(record, functions)
        await self.preparing.await_node(tell)
        for known in functions:
            code = known.function.code
            if code.pickled is not None and known.pickled is None:
                known.pickled = await self._blobs.get(Digest(code.pickled))
        for want in wants_of(record, [known.function for known in functions]):
            await self.preparing.make_ready(want, tell)
        self._capacity.wake()

    async def find_image(self, asked: str) -> dict[str, Any] | NotFoundError:
        """See `image_names.FindImage`."""

        async def ask(session: Session) -> dict[str, Any] | NotFoundError:
            try:
                answer = await session.ask("image.find", {"key": asked})
            except NotFoundError as missing:
                return missing
            found: dict[str, Any] = json.loads(bytes(answer.payload))
            return found

        return await self.preparing.by_agents(ask, "an image was looked for", lambda _line: None)

    def stop(self, app: AppId, *, why: str = "stopped") -> int:
        """Ends an app: its calls, its containers. How many containers were told to go."""
        record = self.apps.pop(app, None)
        if record is None:
            raise NotFoundError(f"there is no app {app!r} here")
        record.state = why
        self.preparing.forget(app)
        told = self.end_containers(record)
        for known in record.functions.values():
            self._calls.stop_function(FunctionId(known.function.id))
        self._capacity.tell()
        self.ended.append(self.describe(record))
        del self.ended[:-200]
        self.stopped(record)
        if record.stream is not None and record.stream.live:
            record.stream.end({"stopped": why})
        return told

    def end_containers(self, record: AppRecord) -> int:
        """Has an app's containers go once nodes are told what is wanted; how many."""
        workers = [worker for known in record.functions.values() for worker in known.workers.values()]
        for worker in workers:
            worker.retiring = True
            worker.state = ContainerState.STOPPING
        return len(workers)

    def find(self, name: str) -> AppRecord:
        """An app by id or name, the newest of that name. Raises NotFoundError naming those that run."""
        for record in reversed(self.apps.values()):
            if name in (record.id, record.name):
                return record
        running = ", ".join(sorted({record.name for record in self.apps.values()})) or "none"
        raise NotFoundError(
            f"no app {name!r} runs here; running: {running}", remedy="list them with `squall app list`"
        )

    def sweep(self) -> None:
        """Ends ephemeral apps whose client has been gone too long."""
        now = self._clock()
        for record in list(self.apps.values()):
            if (
                record.kind == "ephemeral"
                and record.gone_s is not None
                and now - record.gone_s >= CLIENT_GRACE_S
            ):
                self.stop(record.id, why="client gone")

    def describe(self, record: AppRecord) -> dict[str, Any]:
        """One row of `squall app list`."""
        return {
            "id": record.id,
            "name": record.name,
            "kind": record.kind,
            "state": record.state,
            "created_s": record.created_s,
            "functions": sorted(record.functions),
            "scaling": {
                name: asdict(known.function.scaling) for name, known in sorted(record.functions.items())
            },
            "containers": sum(len(known.workers) for known in record.functions.values()),
            "client_pid": record.pid,
            "environment": record.environment or None,
            "version": record.version or None,
            "tag": record.tag,
            "tags": record.tags,
        }


async def _none_seen(_record: AppRecord, _functions: list[FunctionRecord]) -> None:
    """There are no secrets."""
