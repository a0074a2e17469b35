"""Access streams: what owners ask of tokens, machines and where to listen, and what machines ask that want to join."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from squall.model.access import Scope, TokenKind
from squall.model.errors import InvalidError, PermissionDeniedError
from squall.model.ids import NodeId, TokenId
from squall.server.permits import Caller, CallerKind
from squall.settings.listen import ListenAddress
from squall.state.records import NodeRecord, TokenRecord

if TYPE_CHECKING:
    from squall.server.house import House

LONGEST_S: Final = 10 * 365 * 86_400.0
LONGEST_NAME: Final = 200
Answer = dict[str, Any]
Ask = Callable[["House", Caller, dict[str, Any], bytes], Awaitable[Answer]]


async def token_new(house: House, _caller: Caller, head: dict[str, Any], _payload: bytes) -> Answer:
    """A new token; the only time that anybody sees it."""
    kind, name, lasts_s = TokenKind(head["kind"]), str(head.get("name", "")), head.get("lasts_s")
    scopes = frozenset(map(Scope, head.get("scopes", ())))
    if (kind is TokenKind.ACCESS) != bool(scopes):
        raise InvalidError("a token for clients has scopes, and one that lets a machine in has none")
    if lasts_s is not None and not 0 < float(lasts_s) <= LONGEST_S:
        raise InvalidError("a token lasts from now to ten years from now, or until it is revoked")
    if len(name) > LONGEST_NAME:
        raise InvalidError(f"a token's name has at most {LONGEST_NAME} letters")
    token, record = await house.access.new_token(
        kind,
        scopes,
        name=name,
        lasts_s=None if lasts_s is None else float(lasts_s),
        authority=house.listening.authority.fingerprint,
    )
    address = house.listening.address
    return {**_token_row(record), "token": str(token), "listens": None if address is None else str(address)}


async def token_list(house: House, _caller: Caller, _head: dict[str, Any], _payload: bytes) -> Answer:
    """Every token, without its secret."""
    return {"tokens": [_token_row(record) for record in house.access.tokens]}


async def token_revoke(house: House, _caller: Caller, head: dict[str, Any], _payload: bytes) -> Answer:
    """Takes a token back; who came in by it is put out."""
    return {"revoked": await house.access.revoke(TokenId(str(head["token"])))}


async def node_list(house: House, _caller: Caller, _head: dict[str, Any], _payload: bytes) -> Answer:
    """The machines: those that joined, and those that are there."""
    seen = {row["id"]: row for row in house.nodes.rows()}
    joined = {node.id: node for node in house.access.nodes}
    names = [*joined, *(name for name in seen if name not in joined)]
    return {"nodes": [_node_row(NodeId(name), joined.get(NodeId(name)), seen.get(name)) for name in names]}


async def node_remove(house: House, _caller: Caller, head: dict[str, Any], _payload: bytes) -> Answer:
    """Puts a machine out for good; its inputs run elsewhere."""
    return {"removed": await house.access.remove_node(NodeId(str(head["node"])))}


async def listen_set(house: House, caller: Caller, head: dict[str, Any], _payload: bytes) -> Answer:
    """Listens at an address, or nowhere, from now on."""
    if caller.kind is not CallerKind.OWNER:
        raise PermissionDeniedError("where a server listens is said on its own machine, with `squall up`")
    said = head.get("address")
    address = None
    if said is not None:
        address = ListenAddress(
            host=str(said["host"]),
            port=int(said["port"]),
            names=tuple(map(str, said.get("names", ()))),
            plain=bool(said.get("plain")),
        )
    await house.listening.open(address)
    return await listen_get(house, caller, head, b"")


async def listen_get(house: House, _caller: Caller, _head: dict[str, Any], _payload: bytes) -> Answer:
    """Where this server listens, and what keeps it from it."""
    address = house.listening.address
    return {
        "address": None if address is None else asdict(address),
        "trouble": house.listening.trouble,
        "fingerprint": None if address is None else house.listening.authority.fingerprint,
    }


async def authority(house: House, _caller: Caller, _head: dict[str, Any], _payload: bytes) -> Answer:
    """The certificate of this server's authority, which is no secret: who holds a token knows its fingerprint."""
    return {"authority": house.listening.authority.certificate.decode()}


async def enroll(house: House, _caller: Caller, head: dict[str, Any], payload: bytes) -> Answer:
    """Lets a machine in that shows a token for that, and signs its key."""
    from squall.server.authority import key_of

    name = str(head.get("name", ""))[:LONGEST_NAME]
    node = await house.access.enroll(
        str(head["token"]), key=key_of(payload), node=str(head.get("node", "")), name=name
    )
    return _signed(house, payload, node.id)


async def node_renew(house: House, caller: Caller, _head: dict[str, Any], payload: bytes) -> Answer:
    """Signs a machine's key anew before its certificate ends."""
    if caller.node is None:
        raise PermissionDeniedError("only a machine that joined has a certificate to renew")
    return _signed(house, payload, caller.node)


def _signed(house: House, request: bytes, node: NodeId) -> Answer:
    import time

    enrolled = house.listening.authority.sign_node(request, node, now_s=time.time())
    return {
        "node": enrolled.node,
        "certificate": enrolled.certificate.decode(),
        "authority": enrolled.authority.decode(),
    }


def _token_row(record: TokenRecord) -> Answer:
    row = asdict(record)
    del row["digest"]
    return {**row, "scopes": sorted(record.scopes)}


def _node_row(name: NodeId, joined: NodeRecord | None, seen: Answer | None) -> Answer:
    return {
        "id": name,
        "name": "" if joined is None else joined.name,
        "joined_s": None if joined is None else joined.joined_s,
        "state": "away" if seen is None else seen["state"],
        **({} if seen is None else {key: seen[key] for key in ("capacity", "gpus", "containers", "level")}),
    }


QUESTIONS: Final[dict[str, Ask]] = {
    "token.new": token_new,
    "token.list": token_list,
    "token.revoke": token_revoke,
    "node.list": node_list,
    "node.remove": node_remove,
    "node.renew": node_renew,
    "listen.set": listen_set,
    "listen.get": listen_get,
    "authority": authority,
    "enroll": enroll,
}
