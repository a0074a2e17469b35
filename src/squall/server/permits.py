"""Permits: who may ask this server for what."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from squall.model.access import Scope, allows
from squall.model.errors import AuthError, Error, PermissionDeniedError, ScopeMissing
from squall.model.ids import NodeId, TokenId


class CallerKind(StrEnum):
    """Who is at the other end: the user of this machine's socket, who holds a token, a machine that joined, or nobody yet."""

    OWNER = "owner"
    TOKEN = "token"  # noqa: S105 - a word
    NODE = "node"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a connection is. scopes: of a token; node: of a machine that joined."""

    kind: CallerKind
    scopes: frozenset[Scope] = frozenset()
    token: TokenId | None = None
    node: NodeId | None = None
    address: str = ""


OWNER: Final = Caller(CallerKind.OWNER, frozenset(Scope))

_CALL: Final = frozenset(
    {"call", "call.get", "call.cancel", "call.info", "call.dead", "call.replay", "call.graph", "app.find"}
)
_SHARE: Final = frozenset(
    {
        *("shared.find", "shared.list", "shared.delete", "shared.ephemeral", "shared.clear", "shared.len"),
        *("dict.get", "dict.put", "dict.pop", "dict.entries"),
        *("queue.put", "queue.get", "queue.back", "queue.items"),
    }
)
_VOLUME: Final = frozenset(
    {
        *(
            "volume.open",
            "volume.ephemeral",
            "volume.head",
            "volume.commit",
            "volume.edit",
            "volume.rollback",
        ),
        *(
            "volume.list",
            "volume.delete",
            "volume.rename",
            "volume.history",
            "volume.snapshot",
            "volume.unlabel",
        ),
        *("volume.entries", "volume.read", "volume.free"),
    }
)
FROM_ANY_CONTAINER: Final = frozenset({"serve", "blobs.missing", "blob.put", "volume.here"})
"""What does not depend on the function for which a container asks."""

FROM_CONTAINERS: Final = (
    _CALL
    | _SHARE
    | _VOLUME
    | FROM_ANY_CONTAINER
    | {"function.scale", "function.info", "function.stats", "tunnel.open"}
)
"""What code in a container may ask for, over its agent's connection."""

_ANYBODY: Final = frozenset({"hello", "echo", "authority", "enroll"})
_NODES: Final = frozenset(
    {
        *("join", "node.renew", "blob.get", "blobs.missing", "image.record"),
        # A machine opens buckets for its containers, which never have the keys.
        "bucket.keys",
        # A machine takes what its containers wrote into volumes to the server.
        *("blob.put", "volume.head", "volume.commit"),
    }
)
_READ: Final = frozenset(
    {
        "status",
        "app.list",
        "app.info",
        "function.list",
        "function.info",
        "function.stats",
        "function.calls",
        "function.variants",
        "app.history",
        "environment.list",
        "schedule.list",
        "container.list",
        "logs",
        "node.list",
        "listen.get",
        "secret.list",
        "usage.report",
        "usage.summary",
        "budget.list",
    }
)
_ADMIN: Final = frozenset(
    {
        *("blobs.collect", "join", "node.renew", "bucket.keys"),
        *("budget.set", "budget.remove", "secret.rotate"),
    }
)
_ADMIN_PREFIXES: Final = ("token.", "node.", "listen.")


def needed_scope(name: str) -> Scope:
    """What a client needs for a message: run, for all that is not said to need less or more."""
    if name in _READ:
        return Scope.READ
    if name in _ADMIN or name.startswith(_ADMIN_PREFIXES):
        return Scope.ADMIN
    return Scope.CALL if name in _CALL else Scope.RUN


def refusal(caller: Caller, name: str, *, routed: bool, known: AbstractSet[str]) -> Error | None:
    """Why this caller may not ask for this; None where it may. routed: it comes from a container behind the caller.

    known: the messages that there are. A machine that joined speaks as a machine alone, and passes on what its containers
    say; whoever has not said who it is learns nothing, also not which messages there are.
    """
    if routed:
        from_agent = caller.kind in {CallerKind.OWNER, CallerKind.NODE}
        if from_agent and name in FROM_CONTAINERS:
            return None
        return PermissionDeniedError(f"a container may not ask for {name!r}")
    if name in _ANYBODY:
        return None
    if caller.kind is CallerKind.NOBODY:
        return AuthError(
            "the server does not know who is asking",
            remedy="give a token: SQUALL_TOKEN, or a profile made by `squall profile add`",
        )
    if caller.kind is CallerKind.OWNER or name not in known:
        return None
    if caller.kind is CallerKind.NODE:
        if name in _NODES:
            return None
        return PermissionDeniedError(f"a machine that joined may not ask for {name!r}: that needs a token")
    needed = needed_scope(name)
    if allows(caller.scopes, needed) and name != "join":
        return None
    has = ", ".join(sorted(caller.scopes)) or "none"
    return ScopeMissing(f"{name!r} needs the scope {needed}, and this token has {has}", needed=str(needed))
