"""Preparing: images and sources made ready on the nodes that run their functions."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from squall.model.errors import Error, InternalFailure, NotFoundError, TooManyFiles
from squall.model.function import Function
from squall.model.ids import AppId, FunctionId, NodeId
from squall.model.jsonable import to_json
from squall.scheduling.gpu_choice import wishes
from squall.server.nodes import AgentNodes
from squall.server.records import AppRecord
from squall.wire.codec import Frame, Kind
from squall.wire.session import GONE, Session

T = TypeVar("T")
Tell = Callable[[dict[str, Any]], None]

NODE_WAIT_S = 15.0
_AGENTS = 3
"""How many agents may end while an image is made ready: it may be the image that ends them."""
_FULL_S: Final = 1.0
"""Before an agent with too many files open is asked again."""
_log = logging.getLogger("squall.server")


@dataclass(frozen=True, slots=True)
class Want:
    """One image with one source, and the functions that share it. payload: what an agent is told."""

    key: tuple[AppId, str]
    functions: tuple[Function, ...]
    payload: bytes


def wants_of(app: AppRecord, functions: Sequence[Function]) -> tuple[Want, ...]:
    """What functions of an app need on the node that runs them."""
    together: dict[str, tuple[dict[str, Any], list[Function]]] = {}
    for function in functions:
        wants = {
            "image": function.image,
            "client_python": function.client_python,
            "source": function.code.source,
            "level": function.level,
        }
        together.setdefault(json.dumps(wants, sort_keys=True), (wants, []))[1].append(function)
    return tuple(_want(app, key, wants, sharing) for key, (wants, sharing) in together.items())


def _want(app: AppRecord, key: str, wants: dict[str, Any], sharing: list[Function]) -> Want:
    # What they share is said once.
    plain = [to_json(replace(function, image={}, client_python={})) for function in sharing]
    whose = {"installer": app.installer, "app": app.name, "functions": plain}
    return Want((app.id, key), tuple(sharing), json.dumps({**wants, **whose}).encode())


class Preparing:
    """Has agents make ready what their node is to run.

    An app that is opened is made ready on one node that can hold it; each other node has it made ready when the first of
    its containers is placed there. failed: told of a node, functions and an error, where that went wrong.
    """

    def __init__(self, nodes: AgentNodes) -> None:
        self.joined = asyncio.Event()
        self.failed: Callable[[NodeId, Sequence[FunctionId], Error], None] = lambda _node, _names, _error: (
            None
        )
        self._nodes = nodes
        self._done: WeakKeyDictionary[Session, set[tuple[AppId, str]]] = WeakKeyDictionary()
        self._made: dict[tuple[AppId, str], list[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def make_ready(self, want: Want, tell: Tell) -> None:
        """Has it made ready on one node; where its agent ends meanwhile, by the one that comes next, which has what was built."""

        async def prepare(session: Session) -> None:
            await self._prepare_by(session, want, tell)

        await self.by_agents(
            prepare,
            "an image was being made ready",
            lambda line: tell({"build": {"line": line}}),
            functions=want.functions,
        )

    def on(self, node: NodeId, app: AppRecord, function: Function) -> None:
        """Has a node made ready for a function, if that is not done or under way; what comes of it is told to `failed` alone."""
        session = self._nodes.session_of(node)
        if session is None:
            return
        sharing = [known.function for known in app.functions.values()]
        (want,) = (one for one in wants_of(app, sharing) if function in one.functions)
        done = self._done.setdefault(session, set())
        if want.key not in done:
            done.add(want.key)
            self._spawn(self._ready_on(session, node, want))

    def forget(self, app: AppId) -> None:
        """An app has ended: agents forget what it needed."""
        for done in self._done.values():
            done.difference_update([key for key in done if key[0] == app])
        self._made = {key: made for key, made in self._made.items() if key[0] != app}

    async def _ready_on(self, session: Session, node: NodeId, want: Want) -> None:
        try:
            await self._prepare_by(session, want, lambda _what: None)
        except Error as problem:
            self._done.get(session, set()).discard(want.key)
            if not isinstance(problem, GONE):
                _log.warning("node %s could not be made ready: %s", node, problem)
                self.failed(node, [function.id for function in want.functions], problem)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def await_node(self, tell: Tell) -> None:
        """Returns once there is a node. Raises NotFoundError where none comes."""
        if self._nodes.nodes():
            return
        tell({"wait": "no_node"})
        await self._wait_for_agent(None)

    async def by_agents(
        self,
        work: Callable[[Session], Awaitable[T]],
        what: str,
        say: Callable[[str], None],
        *,
        functions: Sequence[Function] = (),
    ) -> T:
        """What `work` gives with an agent, one whose node can hold `functions` if there is one; where it ends meanwhile, with the next.

        what: what is under way then. Raises NotFoundError where no agent comes, InternalFailure where several end, and
        TooManyFiles where it has too many files open for seconds.
        """
        for tried in range(1, _AGENTS + 1):
            session = self._agent_for(functions)
            try:
                if session is not None:
                    return await work(session)
            except GONE:
                say("the agent ended; the next one goes on")
            except TooManyFiles as full:
                if tried == _AGENTS:
                    raise
                say(f"{full.message}; it is asked again")
                await asyncio.sleep(_FULL_S)
                continue
            await self._wait_for_agent(session)
        raise InternalFailure(
            f"the agent ended {_AGENTS} times while {what}",
            remedy="look at `agent.log` and `supervisor.log` in the state directory's logs",
        )

    def _agent_for(self, functions: Sequence[Function]) -> Session | None:
        nodes = self._nodes.nodes()
        for function in functions[:1]:
            asks = [wish.asks for wish in wishes(function, nodes)]
            for node in nodes:
                if any(one.fits_in(node.capacity) for one in asks):
                    return self._nodes.session_of(node.id)
        return self._nodes.session_of()

    async def _wait_for_agent(self, gone: Session | None) -> None:
        """Returns once there is an agent, another one than the one that is `gone`. Raises NotFoundError."""
        try:
            async with asyncio.timeout(NODE_WAIT_S):
                while (session := self._agent_for(())) is None or session is gone:
                    self.joined.clear()
                    await self.joined.wait()
        except TimeoutError:
            raise NotFoundError(
                "no agent has joined this server, so nothing can run",
                remedy="look at `squall status` and at `agent.log` in the state directory's logs",
            ) from None

    async def _prepare_by(self, session: Session, want: Want, tell: Tell) -> None:
        done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def on_frame(frame: Frame) -> None:
            if frame.kind is Kind.DATA:
                tell({"build": frame.head()})
            elif frame.kind is Kind.END and not done.done():
                done.set_result(frame.head())
            elif frame.kind is Kind.FAIL and not done.done():
                done.set_exception(Error.from_wire(frame.head()))

        # What another machine has made need not be made again.
        made = self._made.get(want.key)
        payload = (
            json.dumps({**json.loads(want.payload), "elsewhere": made}).encode() if made else want.payload
        )
        stream = session.open("prepare", {}, payload, on_frame=on_frame)
        try:
            answer = await done
        finally:
            stream.cancel()
        self._done.setdefault(session, set()).add(want.key)
        self._made[want.key] = [str(key) for key in answer.get("made", ())]
        for note in answer.get("notes", ()):
            tell({"note": note})
