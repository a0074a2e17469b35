"""Record: what the state store keeps about an app, a call, an input, an outcome, a container, a layer, a name of an image, a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from squall.model.access import Scope, TokenKind
from squall.model.call import CANCELLED_CODE, CallState, OutcomeKind, Verb
from squall.model.ids import AppId, CallId, ContainerId, FunctionId, NamingId, NodeId, TokenId
from squall.model.usage import Labels

MOST_NAMINGS: Final = 100
"""How many meanings are remembered of one name of an image."""


class AppKind(StrEnum):
    """Whether an app ends with its client or stays until it is stopped."""

    EPHEMERAL = "ephemeral"
    DEPLOYED = "deployed"


class AppState(StrEnum):
    """Where an app stands."""

    RUNNING = "running"
    STOPPED = "stopped"


class LayerState(StrEnum):
    """Where a layer of an image stands."""

    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRecord:
    """An app. Instants in seconds since 1970; owner names the client that an ephemeral app ends with."""

    id: AppId
    name: str
    kind: AppKind
    created_s: float
    state: AppState = AppState.RUNNING
    ended_s: float | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionRecord:
    """A function of an app; definition is JSON that the store does not read."""

    id: FunctionId
    app: AppId
    name: str
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """A call, as it was asked for and as far as it has come.

    inputs: how many in all; None until the client has said so. done: inputs with an outcome; failed: those of
    them that did not return. head: JSON that the store does not read. parent: the id of the input that made it, or "".
    Instants in seconds since 1970.
    """

    id: CallId
    function: FunctionId
    verb: Verb
    created_s: float
    inputs: int | None = None
    done: int = 0
    failed: int = 0
    state: CallState = CallState.OPEN
    ended_s: float | None = None
    head: str = ""
    parent: str = ""

    @property
    def durable(self) -> bool:
        """Whether its inputs and outcomes are on record too; of the others there is only this summary."""
        return self.verb.durable

    @property
    def open(self) -> bool:
        """Whether outcomes are still awaited."""
        return self.state is CallState.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class InputChunk:
    """Inputs [start, stop) of a call, kept as one row.

    lengths: bytes of each input; payload: those bytes one after another. An input that is a blob has the length 0
    here and its digest in `blobs`, by index in the call. heads: none, or JSON text for each input that the store
    does not read.
    """

    start: int
    lengths: tuple[int, ...]
    payload: bytes | memoryview = b""
    blobs: Mapping[int, str] = field(default_factory=dict)
    heads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.start < 0 or not self.lengths or min(self.lengths) < 0:
            raise ValueError(f"a chunk has inputs, counted from 0: {self.start}, {len(self.lengths)} of them")
        if sum(self.lengths) != len(self.payload):
            raise ValueError(f"{sum(self.lengths)} bytes are announced, and {len(self.payload)} are here")
        if any(not self.start <= index < self.stop for index in self.blobs):
            raise ValueError("a blob is named for an input of another chunk")
        if self.heads and len(self.heads) != len(self.lengths):
            raise ValueError(f"{len(self.heads)} heads for {len(self.lengths)} inputs")

    @property
    def stop(self) -> int:
        """The index after the last one."""
        return self.start + len(self.lengths)

    def cut(self, start: int, stop: int) -> InputChunk:
        """Only the inputs [start, stop), which must be some of these."""
        if not self.start <= start < stop <= self.stop:
            raise ValueError(f"[{start}, {stop}) is no part of [{self.start}, {self.stop})")
        if (start, stop) == (self.start, self.stop):
            return self
        first, last = start - self.start, stop - self.start
        skipped = sum(self.lengths[:first])
        lengths = self.lengths[first:last]
        return replace(
            self,
            start=start,
            lengths=lengths,
            payload=self.payload[skipped : skipped + sum(lengths)],
            blobs={index: digest for index, digest in self.blobs.items() if start <= index < stop},
            heads=self.heads[first:last],
        )

    def each(self) -> list[bytes]:
        """The bytes of each input, in order; empty for a blob."""
        whole, place = bytes(self.payload), 0
        parts: list[bytes] = []
        for length in self.lengths:
            parts.append(whole[place : place + length])
            place += length
        return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRecord:
    """How one input ended: its bytes here, or the digest of a blob.

    head: JSON that the store does not read. code: that of an error of ours; "" for what returned or raised.
    """

    index: int
    attempt: int
    kind: OutcomeKind
    ended_s: float
    head: str = ""
    payload: bytes | memoryview = b""
    blob: str | None = None
    code: str = ""

    def __post_init__(self) -> None:
        if self.index < 0 or self.attempt < 1:
            raise ValueError(f"inputs count from 0 and attempts from 1: {self.index}, {self.attempt}")

    @property
    def dead(self) -> bool:
        """Whether it is a dead letter: no result, and not because somebody cancelled it."""
        return self.kind is not OutcomeKind.RETURNED and self.code != CANCELLED_CODE


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRecord:
    """A container that ran. Instants in seconds since 1970, memory in bytes; reason says why it ended.

    cpu_s: core-seconds used; cpu_kept_s: those that were kept for it. memory_byte_s: used memory in bytes times seconds;
    memory_kept_byte_s: what was kept for it. gpu_s: its devices times seconds, of gpu_type. None: nobody counted.
    labels: whose it was.
    """

    id: ContainerId
    function: FunctionId
    started_s: float
    ended_s: float | None = None
    reason: str = ""
    peak_memory_bytes: int | None = None
    cpu_s: float | None = None
    cpu_kept_s: float | None = None
    memory_byte_s: float | None = None
    memory_kept_byte_s: float | None = None
    gpu_s: float | None = None
    gpu_type: str = ""
    labels: Labels = Labels()


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyRecord:
    """For how many seconds inputs of a call were being run in a container.

    since_s, at_s: from when to when a server counted, in seconds since 1970; a server that comes after it begins anew.
    """

    container: ContainerId
    call: CallId
    since_s: float
    at_s: float
    busy_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the containers of a function that ended in a time took of their machines; see ContainerRecord for the units."""

    function: FunctionId
    containers: int
    container_s: float
    cpu_s: float
    cpu_kept_s: float
    memory_byte_s: float
    memory_kept_byte_s: float
    gpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An input of a durable call that ended without a result, and was not cancelled; see OutcomeRecord."""

    call: CallId
    function: FunctionId
    index: int
    attempt: int
    kind: OutcomeKind
    code: str
    ended_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """A layer of an image, by the key of what it is built from. recipe is JSON; used_s: seconds since 1970."""

    key: str
    recipe: str
    state: LayerState
    size_bytes: int = 0
    used_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What a name of an image means from an instant on, in seconds since 1970.

    key: the image's, or "" where the name was deleted. who: whoever named it so; what: the image in words; "" where
    that is not known.
    """

    id: NamingId
    name: str
    key: str
    at_s: float
    who: str = ""
    what: str = ""

    def to_json(self) -> dict[str, Any]:
        """What people and programs are told of it."""
        return {"name": self.name, "key": self.key, "what": self.what, "at_s": self.at_s, "who": self.who}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """A token, without its secret: digest is what `model.access.digest_of` says of that. Instants in seconds since 1970.

    expires_s: None where it lasts until it is revoked. used_s, used_by: of one that is for once, when and by which key.
    """

    id: TokenId
    kind: TokenKind
    digest: str
    created_s: float
    name: str = ""
    scopes: frozenset[Scope] = frozenset()
    expires_s: float | None = None
    revoked_s: float | None = None
    used_s: float | None = None
    used_by: str = ""

    def is_good(self, now_s: float) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_s is None and (self.expires_s is None or now_s < self.expires_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """A machine that joined, by which token, and whether it was removed since. Instants in seconds since 1970."""

    id: NodeId
    name: str
    token: TokenId
    joined_s: float
    removed_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCall:
    """A call to go on with after a restart.

    missing: runs [start, stop) of its inputs that have no outcome. tried: of those that had one and run again, by index, the
    last attempt that does not count any more.
    """

    call: CallRecord
    missing: tuple[tuple[int, int], ...] = ()
    tried: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """How many records a sweep removed."""

    calls: int = 0
    containers: int = 0
    apps: int = 0
    names: int = 0


History = CallRecord | ContainerRecord | BusyRecord
