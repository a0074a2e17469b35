"""Errors of Dicts and Queues."""

# ruff: noqa: N818 - the names are those of the tree, most of them without a suffix

from __future__ import annotations

import queue

from squall.model.errors.asked import InvalidError, NotFoundError
from squall.model.errors.containers import ResourceExhaustedError
from squall.model.errors.root import Error
from squall.model.errors.values import RequestSizeError


class SharedNotFound(NotFoundError):
    """There is no Dict or Queue of this name."""

    code, status = "SQ-1930", 404
    remedy = "look at `squall dict list` or `squall queue list`, or pass `create_if_missing=True`"
    name: str | None = None


class SharedNameInvalid(InvalidError):
    """This is no name for a Dict, a Queue or a partition."""

    code, status = "SQ-1931", 400
    remedy = (
        "a name has letters, digits and `._-`, begins with a letter or a digit, and has 64 characters at most"
    )


class DictKeyInvalid(InvalidError):
    """This value cannot be a key of a Dict."""

    code, status = "SQ-1932", 400
    remedy = "use a string, bytes, a number, a bool, None, or a tuple of these, of 1,024 bytes at most"


class SharedValueTooLarge(RequestSizeError):
    """A value is too large for a Dict or a Queue."""

    code, status = "SQ-1933", 413
    remedy = "put it into a file and share the file's name, or split it"
    size_bytes: int | None = None
    limit_bytes: int | None = None


class DictFull(ResourceExhaustedError):
    """The Dict holds as much as a Dict may; nothing of this was put."""

    code, status = "SQ-1934", 507
    remedy = "remove keys that nobody needs (`pop`, `clear`), or use several Dicts"


class QueueFull(ResourceExhaustedError, queue.Full):
    """The partition of the Queue holds as many items as it may, and had no room in time."""

    code, status = "SQ-1935", 503
    remedy = "wait for longer (`timeout=`), take items faster, or use more partitions"
    put: int | None = None


class QueueEmpty(Error, queue.Empty):
    """Nothing came into the partition of the Queue in time."""

    code, status = "SQ-1936", 404
    remedy = "wait for longer (`timeout=`), and look at `squall queue len NAME --total`"
