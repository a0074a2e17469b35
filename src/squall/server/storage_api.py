"""Storage API: a handler a message, for Dicts and Queues, volumes, buckets and secrets."""

from __future__ import annotations

import json
from typing import Any, Final

from squall.model.errors import FunctionNotFound, PermissionDeniedError
from squall.model.ids import FunctionId
from squall.server import mounted_volumes, secret_streams, sharing_streams, volume_streams
from squall.server.answers import answer_later
from squall.server.askers import Asker
from squall.server.connection import Connection, Handler
from squall.wire.codec import Frame
from squall.wire.stream import Stream


def shared(connection: Connection, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
    """Something about Dicts and Queues."""
    if "wait" in head and head["wait"] != 0:
        connection.make_way(stream)
    house, payload = connection.house, bytes(frame.payload)
    caller = connection.container(stream) if stream.route else None

    async def answer() -> None:
        if head["t"] in sharing_streams.BY_NAME:
            head["environment"] = await house.environments.meant(head.get("environment"), caller)
        await sharing_streams.answer(house.sharing, asker, head, payload)

    asker = Asker(stream)
    answer_later(house, stream, answer())


def secret(connection: Connection, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
    """Something about secrets."""
    payload = bytes(frame.payload)

    async def answer() -> None:
        found = await secret_streams.QUESTIONS[str(head["t"])](connection.house, head, payload)
        if stream.live:
            stream.end({}, json.dumps(found).encode())

    answer_later(connection.house, stream, answer())


def volume_here(connection: Connection, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
    """Something about a volume that a container has."""
    session = connection.session
    container = connection.house.nodes.container_on(session, stream.route) if stream.route else None
    answer_later(connection.house, stream, mounted_volumes.pass_on(session, container, stream, head))


def volume(connection: Connection, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
    """Something about volumes."""
    asked = bytes(frame.payload)
    caller = connection.container(stream) if stream.route else None

    async def answer() -> None:
        found, payload = await volume_streams.answer(connection.house, head, asked, caller)
        if stream.live:
            stream.end(found, payload)

    answer_later(connection.house, stream, answer())


def volume_ephemeral(connection: Connection, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
    """A volume without a name, for as long as this stream lives."""
    house = connection.house
    answer_later(house, stream, volume_streams.ephemeral(house, Asker(stream), head))


def bucket_keys(connection: Connection, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
    """The keys of a bucket, for an agent: containers never have them."""
    if not connection.is_agent:
        raise PermissionDeniedError("the keys of buckets are for machines that run containers")
    record = connection.house.calls.functions.get(FunctionId(str(head.get("function"))))
    mounts = () if record is None else record.function.buckets
    mount = next((one for one in mounts if one.path == head.get("path")), None)
    if record is None or mount is None:
        raise FunctionNotFound(f"no function {head.get('function')!r} has a bucket at {head.get('path')!r}")
    stream.end({}, json.dumps(connection.house.vault.keys_for(record.function, mount)).encode())


HANDLERS: Final[dict[str, Handler]] = {
    **dict.fromkeys(sharing_streams.QUESTIONS, shared),
    **dict.fromkeys(secret_streams.QUESTIONS, secret),
    "bucket.keys": bucket_keys,
    "volume.ephemeral": volume_ephemeral,
    "volume.here": volume_here,
    **dict.fromkeys(volume_streams.QUESTIONS, volume),
}
