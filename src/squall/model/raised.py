"""A raised exception as plain data: what crosses from the runner to the client, in words JSON has."""

from __future__ import annotations

from typing import Any, TypedDict

# The head must fit into the header of one frame (64 KiB) and leave room for what stands beside it.
HEAD_LIMIT_BYTES = 48 * 1024
# The pickled parts must fit into the payload of one frame (4 MiB).
PARTS_LIMIT_BYTES = 3 * 1024 * 1024

# The file name of a frame that stands for Squall itself: the line between here and the container.
MARKER_FILE = "<squall>"
STR_FAILED = "<exception str() failed>"


class Place(TypedDict, total=False):
    """A place in the code that a traceback passed.

    source: whether `file` is relative to the root of the shipped source. text: the source lines from line to end_line.
    Columns are UTF-8 byte offsets, as in `code.co_positions()`; None where unknown.
    """

    file: str
    source: bool
    line: int
    name: str
    text: list[str]
    end_line: int | None
    column: int | None
    end_column: int | None


class Node(TypedDict, total=False):
    """One exception of the tree that hangs together by cause, context and groups.

    frames: pairs of (index into the places, how many times in a row), outermost first.
    args, state: plain values; those that JSON cannot carry lie in the payload under the node's index.
    cause, context, exceptions: indices of other nodes, always greater than the node's own.
    """

    module: str
    qualname: str
    file: str
    message: str
    message_cut: bool
    notes: list[str]
    frames: list[list[int]]
    args: list[Any]
    state: dict[str, Any]
    special: dict[str, Any]
    hint: str
    cause: int
    context: int
    suppress: bool
    exceptions: list[int]
    group: str
    wire: dict[str, Any]


class Raised(TypedDict, total=False):
    """What a function raised. nodes[0] is the exception itself; type and message repeat it for those who only log."""

    type: str
    message: str
    kind: str
    python: str
    nodes: list[Node]
    places: list[Place]
    container: str
