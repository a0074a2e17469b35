"""API: a handler a message, for clients and, where allowed, for code inside containers."""

from __future__ import annotations

import json
import os
from typing import Any

from squall.model.call import Verb
from squall.model.errors import (
    BudgetReached,
    Error,
    FunctionNotFound,
    InvalidError,
    PermissionDeniedError,
    TooManyInputs,
    VersionError,
)
from squall.model.ids import CALL, AppId, CallId, is_id, is_input_id
from squall.model.jsonable import from_json, to_json
from squall.model.node import Node
from squall.model.parameters import POOL
from squall.model.variant import read_changes, split_changes
from squall.server import (
    access_streams,
    app_streams,
    blob_streams,
    call_questions,
    deploy_streams,
    function_questions,
    image_names,
    image_streams,
    listing,
    log_questions,
    schedule_streams,
    storage_api,
    usage,
)
from squall.server.addressing import Asked
from squall.server.answers import answer_later
from squall.server.connection import Connection, Handler
from squall.server.house import House
from squall.server.listing import QUESTIONS
from squall.server.permits import OWNER, Caller, CallerKind, refusal
from squall.server.records import CallRecord, FunctionRecord
from squall.server.tunnels import open_tunnel
from squall.settings.version import PROTOCOL, VERSION
from squall.wire.channel import Channel
from squall.wire.codec import Frame, Kind
from squall.wire.stream import Stream


def connect(house: House, channel: Channel, caller: Caller = OWNER) -> Connection:
    """A connection over `channel`, its messages heard here. caller: who it is, as far as that is known."""
    return Connection(house, channel, caller, HANDLERS)


def hello(connection: Connection, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
    """Who speaks, and whether both sides understand each other."""
    if head.get("protocol") != PROTOCOL and head.get("role") == "agent":
        raise VersionError(f"the agent speaks protocol {head.get('protocol')}, this server speaks {PROTOCOL}")
    if "token" in head and connection.caller.kind in {CallerKind.NOBODY, CallerKind.TOKEN}:
        connection.let_in(connection.house.access.admit(str(head["token"]), connection.caller.address))
    if connection.caller.kind is CallerKind.NOBODY:
        # Whoever may not come in learns what to speak, and no more.
        stream.end({"version": VERSION, "protocol": PROTOCOL})
        return
    why = connection.house.why_busy()
    stream.end(
        {
            "version": VERSION,
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "busy": bool(why),
            "why_busy": why or "",
        }
    )


def echo(_connection: Connection, stream: Stream, _head: dict[str, Any], _frame: Frame) -> None:
    """Nothing: who has the answer has everything that was sent before it. A ping is not answered beside a flood."""
    stream.end({})


def join(connection: Connection, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
    """An agent offers its machine."""
    node = from_json(Node, head["node"])
    own = connection.caller.node
    if own is not None and own != node.id:
        raise PermissionDeniedError(f"this machine joined as {own}, and may not speak as {node.id}")
    connection.is_agent = True
    connection.house.join(node, connection.session, stream, head)


def serve(connection: Connection, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
    """A container is ready for its function, or for more inputs."""
    worker = connection.container(stream)
    container = connection.house.nodes.container_on(connection.session, stream.route)
    orphan = connection.house.node_events.orphans.get(container) if container is not None else None
    if worker is not None:
        connection.house.containers.serve(worker, stream, head)
    elif orphan is not None:
        orphan.wait(stream, head)
    else:
        stream.end({"t": "end"})


def app(connection: Connection, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
    """An app for as long as this stream lives."""
    record = app_streams.open_app(connection.house, stream, head, frame, is_gone=lambda: connection.is_gone)
    if record not in connection.apps:
        connection.apps.append(record)


def call(connection: Connection, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
    """One call: its inputs come in, its outcomes go out, on this stream."""
    house = connection.house
    name = CallId(head["call"])
    if not is_id(name, CALL):
        raise InvalidError(f"{name!r} is no id of a call")
    _check_changes(stream, head["fn"])
    if split_changes(head["fn"])[1] and not stream.route:
        # Whoever may only call may not have containers of another size either.
        wrong = refusal(connection.caller, "function.scale", routed=False, known=HANDLERS.keys())
        if wrong is not None:
            raise wrong
    if _waits_for_its_app(connection, stream, head, frame):
        return
    verb = Verb(head.get("verb", "remote"))
    parent = str(head.get("parent", ""))
    parent = parent if is_input_id(parent) else ""
    asked = Asked(name, parent, connection.container(stream) if stream.route else None)
    held = house.addressing.held_as(head["fn"], asked)
    if held is not None:
        house.addressing.keep(held, stream, frame, connection.on_open)
        return
    function = house.addressing.function(head["fn"], asked)
    if "with" in head:
        function = house.apps.bind(function, head["with"])
    record = CallRecord(*(name, function, verb), stream=stream, parent=parent, created_s=house.clock())
    if verb.durable:
        record.stream = None
        kept = Frame(frame.kind, payload=frame.payload, fds=frame.take_fds())
        answer_later(house, stream, _record_inputs(house, record, stream, head, kept))
        return
    earlier = house.calls.calls.get(name)
    if earlier is not None:
        earlier.stream = None
        house.calls.cancel(name, spare_durable=True)
    connection.make_way(stream)
    stream.on_frame = lambda frame: _on_call_frame(connection, record, stream, frame)
    if verb is Verb.REMOTE:
        head.setdefault("total", 1)
    _take_inputs(house, record, head, frame)


def _check_changes(stream: Stream, function: str) -> None:
    """Code in a container has no other secrets than its app gives it: it may not give any to a function that it calls."""
    changes = split_changes(function)[1]
    if changes and stream.route and {"secrets", "buckets"} & read_changes(changes).keys():
        raise PermissionDeniedError(
            "a container may not give a function other secrets or buckets than its app does",
            remedy="declare a function with these, and call that",
        )


def _waits_for_its_app(connection: Connection, stream: Stream, head: dict[str, Any], frame: Frame) -> bool:
    """Whether a container asks for a function of an app that is not told of yet, as its client is not back after a restart."""
    house, app = connection.house, AppId(str(head["fn"]).partition("/")[0])
    if not stream.route or app in house.apps.apps:
        return False
    if not house.node_events.awaits(app):
        return False
    house.awaited.keep(app, stream, frame, connection.on_open)
    return True


async def _record_inputs(
    house: House, record: CallRecord, stream: Stream, head: dict[str, Any], frame: Frame
) -> None:
    function = house.calls.functions.get(record.function)
    if function is not None:
        function.entering += 1
    try:
        if function is not None:
            await house.budgets.admit_durable(function, record.id)
        await house.variants.keep(record.function)
        await house.durable.submit(record, stream, head, frame)
    finally:
        if function is not None:
            function.entering -= 1
            if function.bounds is not None:
                house.capacity.wake()  # it may be the last one of a version that goes


def _take_inputs(house: House, record: CallRecord, head: dict[str, Any], frame: Frame) -> None:
    count = len(head.get("d", ()))
    function = house.calls.admit(record.function, inputs=count, size_bytes=len(frame.payload))
    inside = record.stream is not None and bool(record.stream.route)
    house.budgets.admit(function, inputs=count, went=bool(head.get("again")), inside=inside)
    house.calls.submit(record, head, frame)


def _take_more(house: House, record: CallRecord, frame: Frame) -> None:
    """Takes further inputs, or says that there is no room: then they are awaited again, and those after them are not taken."""
    head, stream = frame.head(), record.stream
    start = head.get("start", 0)
    if record.full_at is not None and start > record.full_at:
        return
    try:
        _take_inputs(house, record, head, frame)
    except BudgetReached as refused:
        # What was taken before is finished, and the rest is answered: a map is not cut off.
        house.budgets.refuse(record, head, frame, refused)
        return
    except TooManyInputs as refused:
        if stream is None or refused.retry_after_s is None:
            raise
        record.full_at = start
        stream.send({"full": refused.to_wire(), "start": start})
        return
    if record.full_at is not None:
        record.full_at = None
        if stream is not None and stream.live:
            stream.send({"taken": start})


def _on_call_frame(connection: Connection, record: CallRecord, stream: Stream, frame: Frame) -> None:
    calls = connection.house.calls
    if calls.calls.get(record.id, record) is not record:
        # Its client has sent it again on another connection, before this one's end was seen here.
        return
    if frame.kind is Kind.DATA:
        try:
            _take_more(connection.house, record, frame)
        except (Error, ValueError) as wrong:
            error = wrong if isinstance(wrong, Error) else InvalidError(str(wrong))
            calls.cancel(record.id, error)
            stream.fail(error)
    elif frame.kind is Kind.CREDIT:
        calls.credit(record, int(frame.head()["n"]))
    elif frame.kind is Kind.CANCEL:
        # A lost connection is a CANCEL too, made here: the call comes again, and what its inputs spawned goes on.
        calls.cancel(record.id, spare_durable=connection.session.channel.closed)


def function_scale(connection: Connection, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
    """Other bounds for a function's containers; a container may set those of its own app's functions."""
    _check_changes(stream, head["fn"])
    if _waits_for_its_app(connection, stream, head, frame):
        return
    caller = connection.container(stream) if stream.route else None
    name = connection.house.addressing.function(head["fn"], Asked(CallId(""), caller=caller))
    if "with" in head:
        name = connection.house.apps.bind(name, head["with"])
    record = connection.house.calls.functions.get(name)
    if record is None:
        raise FunctionNotFound(f"there is no function {head['fn']!r} here, or its app has stopped")
    if stream.route:
        worker = connection.container(stream)
        asking = connection.house.calls.functions.get(worker.function) if worker is not None else None
        if asking is None or asking.function.app != record.function.app:
            raise PermissionDeniedError("a container may scale the functions of its own app, and no others")
    house = connection.house
    sets = [record, *(_sets_of(house, record) if head.get("sets") else ())]
    scaling = house.apps.scale(sets, head["scaling"])

    async def answer() -> None:
        await house.variants.keep_scaling(sets)
        if stream.live:
            stream.end({"scaling": to_json(scaling)})

    answer_later(house, stream, answer())


def _sets_of(house: House, record: FunctionRecord) -> list[FunctionRecord]:
    """A class with other values of its parameters, as far as somebody has called it."""
    app = house.apps.apps[record.function.app]
    own = f"{record.function.name}{POOL}"
    return [one for name, one in app.functions.items() if name.startswith(own)]


def question(connection: Connection, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
    """A question whose answer is JSON."""

    async def answer() -> None:
        found = await QUESTIONS[head["t"]](connection.house, head)
        if stream.live:
            stream.end({}, json.dumps(found).encode())

    answer_later(connection.house, stream, answer())


def usage_question(connection: Connection, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
    """What was taken and what it costs, or something to be done to budgets."""

    async def answer() -> None:
        found = await usage.QUESTIONS[head["t"]](connection.house, head)
        if stream.live:
            stream.end({}, json.dumps(found, ensure_ascii=False).encode())

    answer_later(connection.house, stream, answer())


def image_name(connection: Connection, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
    """What a name of an image means, or shall mean."""

    async def answer() -> None:
        found = await image_names.QUESTIONS[head["t"]](connection.house.image_names, head)
        if stream.live:
            stream.end({}, json.dumps(found, ensure_ascii=False).encode())

    answer_later(connection.house, stream, answer())


def container_exec(connection: Connection, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
    """A command in a container."""
    answer_later(connection.house, stream, listing.container_exec(connection.house, stream, head))


def tunnel(connection: Connection, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
    """A way to a port of the container that asks."""
    worker = connection.container(stream) if stream.route else None
    answer_later(connection.house, stream, open_tunnel(connection.house, worker, stream, head))


def image(connection: Connection, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
    """A question about images, or something to be done to them."""
    answer_later(
        connection.house,
        stream,
        image_streams.pass_on(connection.house, stream, head, bytes(frame.payload)),
    )


def logs(connection: Connection, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
    """What containers have printed."""
    stream.on_frame = lambda frame: stream.end({}) if frame.kind is Kind.CANCEL and stream.live else None
    caller = connection.container(stream) if stream.route else None
    answer_later(connection.house, stream, log_questions.logs(connection.house, stream, head, caller))


def call_question(connection: Connection, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
    """A question about a call that is on record, or something to be done to it."""
    if head.get("wait"):
        connection.make_way(stream)
    work = call_questions.QUESTIONS[head["t"]](connection.house, stream, head, bytes(frame.payload))
    answer_later(connection.house, stream, work)


def blob(connection: Connection, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
    """Bytes that are asked for or brought."""
    own = Frame(frame.kind, header=frame.header, payload=frame.payload, fds=frame.take_fds())

    async def answer() -> None:
        try:
            ask = blob_streams.QUESTIONS[str(head["t"])]
            await ask(connection.house, connection.session, stream, own)
        finally:
            for fd in own.take_fds():
                os.close(fd)

    answer_later(connection.house, stream, answer())


def deploy(connection: Connection, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
    """A version of an app that stays; it is given up where its client says so, and not where that is lost."""
    house, payload = connection.house, bytes(frame.payload)

    def on_frame(frame: Frame) -> None:
        if frame.kind is Kind.CANCEL and not connection.session.channel.closed:
            house.deploys.give_up(AppId(str(head.get("app"))), "its deploy was cancelled")

    stream.on_frame = on_frame
    answer_later(house, stream, deploy_streams.STREAMS[head["t"]](house, stream, head, payload))


_BY_CALLER: dict[str, deploy_streams.Ask] = {
    **deploy_streams.QUESTIONS,
    **function_questions.QUESTIONS,
    **schedule_streams.QUESTIONS,
}


def deploy_question(connection: Connection, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
    """A question about functions and what is deployed and scheduled, or something to be done to environments."""
    caller = connection.container(stream) if stream.route else None

    async def answer() -> None:
        found = await _BY_CALLER[head["t"]](connection.house, head, caller)
        if stream.live:
            stream.end({}, json.dumps(found, ensure_ascii=False).encode())

    answer_later(connection.house, stream, answer())


def access(connection: Connection, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
    """Something about tokens, machines, or where to listen."""
    payload = bytes(frame.payload)

    async def answer() -> None:
        ask = access_streams.QUESTIONS[str(head["t"])]
        found = await ask(connection.house, connection.caller, head, payload)
        if stream.live:
            stream.end({}, json.dumps(found).encode())

    answer_later(connection.house, stream, answer())


HANDLERS: dict[str, Handler] = {
    "hello": hello,
    "echo": echo,
    "join": join,
    "serve": serve,
    "app": app,
    "call": call,
    "function.scale": function_scale,
    "logs": logs,
    "container.exec": container_exec,
    "tunnel.open": tunnel,
    **dict.fromkeys(QUESTIONS, question),
    **dict.fromkeys(usage.QUESTIONS, usage_question),
    **dict.fromkeys(deploy_streams.STREAMS, deploy),
    **dict.fromkeys(_BY_CALLER, deploy_question),
    **dict.fromkeys(blob_streams.QUESTIONS, blob),
    **dict.fromkeys(access_streams.QUESTIONS, access),
    **dict.fromkeys(call_questions.QUESTIONS, call_question),
    **dict.fromkeys(image_streams.MESSAGES, image),
    **dict.fromkeys(image_names.QUESTIONS, image_name),
    **storage_api.HANDLERS,
}
