"""Outcome: from what came over the wire to a value, or to the exception that the user's function raised."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from typing import Any

from squall.model.call import OutcomeKind
from squall.model.errors import DeserializationError, Error
from squall.sdk.raised import rebuild
from squall.wire import payload
from squall.wire.codec import Frame


class Failure:
    """An input that ended with an exception, kept as one until somebody asks for its value."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def outcomes_in(frame: Frame, head: list[Any], *, root: str | None) -> Iterator[tuple[int, Any]]:
    """The outcomes in a frame: (index, value), a Failure in place of a value where the input raised.

    head: the frame's "o": start, sizes, kinds. root: the local directory of the source, for tracebacks. Closes
    the frame's descriptors.
    """
    start, sizes, kinds = head
    fds = frame.take_fds()
    data = memoryview(frame.payload)
    at = 0
    try:
        for offset, size in enumerate(sizes):
            kind = kinds[offset] if kinds else 0
            length = size if type(size) is int else sum(size) if type(size) is list else 0
            part = data[at : at + length]
            at += length
            yield start + offset, _outcome(kind, size, part, fds, root)
    finally:
        for fd in fds:
            os.close(fd)


def value_of(size: Any, part: memoryview, fds: tuple[int, ...]) -> Any:
    """The value behind a size as the wire says it. Raises DeserializationError."""
    if type(size) is int:
        return payload.unpack((part,))
    if type(size) is list:
        return payload.unpack(payload.split(part, size))
    return payload.unpack_from_memfd(fds[size["f"]], size["l"])


def _outcome(kind: int, size: Any, part: memoryview, fds: tuple[int, ...], root: str | None) -> Any:
    if kind == OutcomeKind.RETURNED:
        try:
            return value_of(size, part, fds)
        except DeserializationError as error:
            return Failure(error)
    if kind == OutcomeKind.RAISED:
        text, pickled = payload.split(part, size)
        raised = rebuild(json.loads(bytes(text)), bytes(pickled) or None, source_root_local=root)
        if root is not None and isinstance(raised, ModuleNotFoundError):
            # Looks for what is here: a container gets outcomes too, and each fork of a template would pay for that.
            explain = importlib.import_module("squall.sdk.missing_module").with_explanation
            raised = explain(raised, root=root)
        return Failure(raised)
    return Failure(Error.from_wire(json.loads(bytes(part))))
