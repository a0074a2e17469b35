"""Call records: what a server tells of calls: their failed inputs, and which call made which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An input that ended without a value, and was not cancelled.

    call: its call's id. function: its name. index: its place in the call. attempt: which of its attempts it was. code: of an
    error of Squall, as "SQ-1401"; "" where the function raised. ended_s: when, in seconds since 1970.
    """

    call: str
    function: str
    index: int
    attempt: int
    code: str
    ended_s: float

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> DeadLetter:
        """The dead letter that a server's row says."""
        return cls(
            call=row["call"],
            function=str(row["function"]).partition("/")[2],
            index=row["index"],
            attempt=row["attempt"],
            code=row["code"],
            ended_s=row["ended_s"],
        )


@dataclass(slots=True, kw_only=True)
class CallNode:
    """A call, and the calls that its inputs have made.

    id: its id. function: the function's name. verb: "remote", "map", "spawn" or "spawn_map". state: "open", "ended" or
    "cancelled". inputs: how many, None as long as that is not known; done, failed: of them. parent: the id of the input that
    made it, "" for the first.
    """

    id: str
    function: str
    verb: str
    state: str
    inputs: int | None
    done: int
    failed: int
    parent: str
    children: list[CallNode] = field(default_factory=list)

    def walk(self) -> Iterator[CallNode]:
        """It and all below it, each before its children."""
        ahead = [self]
        while ahead:
            node = ahead.pop()
            yield node
            ahead += reversed(node.children)


def call_tree(rows: Sequence[Mapping[str, Any]]) -> CallNode:
    """The first row's call, with the others where their parents are; rows: parents first."""
    nodes: dict[str, CallNode] = {}
    for row in rows:
        name = row["call"]
        if name in nodes:
            continue
        told = {key: row[key] for key in ("function", "verb", "state", "inputs", "done", "failed", "parent")}
        above = nodes.get(row["parent"].partition(":")[0])
        node = nodes[name] = CallNode(id=name, **told)
        if above is not None:
            above.children.append(node)
    return nodes[rows[0]["call"]]
