"""Apps: opened by a client, made ready on the nodes, ended with everything they hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any, TypeVar

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.model.container import ContainerState
from squall.model.errors import ConnectionLost, Error, InternalFailure, InvalidError, NotFoundError
from squall.model.function import Function, Scaling
from squall.model.ids import APP, AppId, FunctionId, is_id
from squall.model.jsonable import from_json, to_json
from squall.server.calls import Calls
from squall.server.capacity import Capacity
from squall.server.nodes import AgentNodes
from squall.server.records import AppRecord, FunctionRecord
from squall.wire.codec import Frame, Kind
from squall.wire.session import Session
from squall.wire.stream import Stream

T = TypeVar("T")

CLIENT_GRACE_S = 5.0
NODE_WAIT_S = 15.0
_AGENTS = 3
"""How many agents may end while an image is made ready: it may be the image that ends them."""


class Apps:
    """Every app that runs here."""

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
        self.joined = asyncio.Event()
        self.added: Callable[[FunctionRecord], None] = lambda _record: None
        self._calls = calls
        self._capacity = capacity
        self._nodes = nodes
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
            )
            self.apps[app] = record
        record.stream, record.gone_s = stream, None
        described = json.loads(bytes(frame.payload))
        record.installer = described.get("installer", {})
        self.add_functions(record, described["functions"])
        return record

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

        Raises ImageBuildError and its like, NotFoundError when the source was not sent.
        """
        await self.await_node(tell)
        together: dict[str, tuple[dict[str, Any], list[Function]]] = {}
        for known in functions:
            function = known.function
            if function.code.pickled is not None and known.pickled is None:
                known.pickled = await self._blobs.get(Digest(function.code.pickled))
            wants = {
                "image": function.image,
                "client_python": function.client_python,
                "source": function.code.source,
                "level": function.level,
            }
            together.setdefault(json.dumps(wants, sort_keys=True), (wants, []))[1].append(function)
        for wants, sharing in together.values():
            # What they share is said once.
            plain = [to_json(replace(function, image={}, client_python={})) for function in sharing]
            whose = {"installer": record.installer, "app": record.name, "functions": plain}
            await self._prepare({**wants, **whose}, tell)
        self._capacity.wake()

    async def await_node(self, tell: Callable[[dict[str, Any]], None]) -> None:
        """Returns once there is a node. Raises NotFoundError where none comes."""
        if self._nodes.nodes():
            return
        tell({"wait": "no_node"})
        await self._wait_for_agent(None)

    async def _prepare(self, wants: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> None:
        """Has one image made ready; where the agent ends meanwhile, by the one that comes in its place, which has what was built."""

        async def prepare(session: Session) -> None:
            await self._prepare_by(session, wants, tell)

        await self.by_agents(
            prepare, "an image was being made ready", lambda line: tell({"build": {"line": line}})
        )

    async def by_agents(
        self, work: Callable[[Session], Awaitable[T]], what: str, say: Callable[[str], None]
    ) -> T:
        """What `work` gives with an agent; where that ends meanwhile, with the one that comes in its place.

        what: what is under way then. Raises NotFoundError where no agent comes, and InternalFailure where several end.
        """
        for _ in range(_AGENTS):
            session = self._nodes.session_of()
            try:
                if session is not None:
                    return await work(session)
            except ConnectionLost:
                say("the agent ended; the next one goes on")
            await self._wait_for_agent(session)
        raise InternalFailure(
            f"the agent ended {_AGENTS} times while {what}",
            remedy="look at `agent.log` and `supervisor.log` in the state directory's logs",
        )

    async def find_image(self, asked: str) -> dict[str, Any] | NotFoundError:
        """See `image_names.FindImage`."""

        async def ask(session: Session) -> dict[str, Any] | NotFoundError:
            try:
                answer = await session.ask("image.find", {"key": asked})
            except NotFoundError as missing:
                return missing
            found: dict[str, Any] = json.loads(bytes(answer.payload))
            return found

        return await self.by_agents(ask, "an image was looked for", lambda _line: None)

    async def _wait_for_agent(self, gone: Session | None) -> None:
        """Returns once there is an agent, another one than the one that is `gone`. Raises NotFoundError."""
        try:
            async with asyncio.timeout(NODE_WAIT_S):
                while (session := self._nodes.session_of()) is None or session is gone:
                    self.joined.clear()
                    await self.joined.wait()
        except TimeoutError:
            raise NotFoundError(
                "no agent has joined this server, so nothing can run",
                remedy="look at `squall status` and at `agent.log` in the state directory's logs",
            ) from None

    async def _prepare_by(
        self, session: Session, wants: dict[str, Any], tell: Callable[[dict[str, Any]], None]
    ) -> None:
        done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def on_frame(frame: Frame) -> None:
            if frame.kind is Kind.DATA:
                tell({"build": frame.head()})
            elif frame.kind is Kind.END and not done.done():
                done.set_result(frame.head())
            elif frame.kind is Kind.FAIL and not done.done():
                done.set_exception(Error.from_wire(frame.head()))

        payload = json.dumps(wants).encode()
        stream = session.open("prepare", {}, payload, on_frame=on_frame)
        try:
            answer = await done
        finally:
            stream.cancel()
        for note in answer.get("notes", ()):
            tell({"note": note})

    def stop(self, app: AppId, *, why: str = "stopped") -> int:
        """Ends an app: its calls, its containers. How many containers were told to go."""
        record = self.apps.pop(app, None)
        if record is None:
            raise NotFoundError(f"there is no app {app!r} here")
        record.state = why
        told = 0
        for known in record.functions.values():
            for worker in list(known.workers.values()):
                worker.retiring = True
                worker.state = ContainerState.STOPPING
                told += 1
            self._calls.stop_function(FunctionId(known.function.id))
        self._capacity.tell()
        self.ended.append(self.describe(record))
        del self.ended[:-200]
        if record.stream is not None and record.stream.live:
            record.stream.end({"stopped": why})
        return told

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
        }
