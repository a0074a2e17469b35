"""Access: the tokens and machines that this server knows, and whom it lets in."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from squall.context.fresh import fresh_id
from squall.model.access import (
    SECRET_BYTES,
    Scope,
    Token,
    TokenKind,
    digest_of,
    is_secret,
    make_token,
    read_token,
)
from squall.model.errors import InvalidError, NodeRefused, NotFoundError, TokenRefused
from squall.model.ids import NODE, TOKEN, NodeId, TokenId, is_id
from squall.server.permits import Caller, CallerKind
from squall.state.records import NodeRecord, TokenRecord
from squall.state.state_store import StateStore

REREAD_S: Final = 2.0
"""How old what a server believes of its tokens may be: another one may have revoked some."""
_REFUSED: Final = "the token is not one that this server knows, or was revoked, or has expired"
_NOBODYS: Final = digest_of("")


class Access:
    """Who may come in. clock: seconds since 1970.

    Tokens and machines are read from the record, and again every REREAD_S while `watch` runs.
    """

    def __init__(self, store: StateStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._tokens: dict[TokenId, TokenRecord] = {}
        self._nodes: dict[NodeId, NodeRecord] = {}
        self.on_change: Callable[[], None] = lambda: None

    async def reread(self) -> None:
        """Takes over what is on record."""
        self._tokens = {token.id: token for token in await self._store.tokens()}
        self._nodes = {node.id: node for node in await self._store.node_records()}

    async def watch(self) -> None:
        """Keeps what is believed young, and has those put out whose token has ended, for ever."""
        while True:
            await self.reread()
            self.on_change()
            await asyncio.sleep(REREAD_S)

    # -- tokens

    async def new_token(
        self, kind: TokenKind, scopes: Iterable[Scope], *, name: str, lasts_s: float | None, authority: str
    ) -> tuple[Token, TokenRecord]:
        """A token, once it is on record, and what is kept of it; its secret is in the token alone."""
        now_s = self._clock()
        token = make_token(TokenId(fresh_id(TOKEN)), os.urandom(SECRET_BYTES), authority)
        record = TokenRecord(
            id=token.id,
            kind=kind,
            name=name,
            scopes=frozenset(scopes),
            digest=digest_of(token.secret),
            created_s=now_s,
            expires_s=None if lasts_s is None else now_s + lasts_s,
        )
        await self._store.record_token(record)
        self._tokens[record.id] = record
        return token, record

    @property
    def tokens(self) -> tuple[TokenRecord, ...]:
        """Every token, oldest first."""
        return tuple(sorted(self._tokens.values(), key=lambda token: (token.created_s, token.id)))

    async def revoke(self, token: TokenId) -> bool:
        """Takes a token back, and puts out who came in by it; whether that is new. Raises NotFoundError."""
        now_s = self._clock()
        new = await self._store.revoke_token(token, at_s=now_s)
        known = self._tokens.get(token)
        if known is None:
            raise NotFoundError(f"there is no token {token}", remedy="`squall token list` shows them")
        if known.revoked_s is None:
            self._tokens[token] = replace(known, revoked_s=now_s)
        self.on_change()
        return new

    # -- coming in

    def admit(self, text: str, address: str = "") -> Caller:
        """Who shows this token. Raises TokenRefused, which says the same whatever is wrong."""
        known = self._good(text, TokenKind.ACCESS)
        return Caller(CallerKind.TOKEN, known.scopes, token=known.id, address=address)

    def admit_node(self, node: NodeId, address: str = "") -> Caller:
        """The machine whose certificate was shown. Raises NodeRefused."""
        known = self._nodes.get(node)
        if known is None or known.removed_s is not None:
            raise NodeRefused(f"this server has not let the machine {node} in, or has removed it")
        return Caller(CallerKind.NODE, node=node, address=address)

    def still_good(self, caller: Caller) -> bool:
        """Whether who came in before would come in now."""
        if caller.token is not None:
            known = self._tokens.get(caller.token)
            return known is not None and known.is_good(self._clock())
        if caller.node is not None:
            machine = self._nodes.get(caller.node)
            return machine is not None and machine.removed_s is None
        return True

    # -- machines

    async def enroll(self, text: str, *, key: str, node: str, name: str) -> NodeRecord:
        """The machine that this token lets in, once it is on record: the same when it asks again with the same key.

        key: what its key is known by. node: what it calls itself, taken if it is free. Raises TokenRefused.
        """
        token = self._good(text, TokenKind.JOIN)
        now_s = self._clock()
        if not await self._store.use_token(token.id, by=key, at_s=now_s):
            raise TokenRefused(_REFUSED)
        self._tokens[token.id] = replace(token, used_s=token.used_s or now_s, used_by=key)
        earlier = [one for one in self._nodes.values() if one.token == token.id and one.removed_s is None]
        if earlier:
            return earlier[0]
        taken = self._nodes.get(NodeId(node))
        free = is_id(node, NODE) and (taken is None or taken.removed_s is not None)
        record = NodeRecord(
            id=NodeId(node if free else fresh_id(NODE)),
            name=name or node,
            token=token.id,
            joined_s=now_s,
        )
        await self._store.record_node(record)
        self._nodes[record.id] = record
        return record

    @property
    def nodes(self) -> tuple[NodeRecord, ...]:
        """The machines that joined and may come back, oldest first."""
        there = [node for node in self._nodes.values() if node.removed_s is None]
        return tuple(sorted(there, key=lambda node: (node.joined_s, node.id)))

    async def remove_node(self, node: NodeId) -> bool:
        """Puts a machine out for good; whether it was in. Raises NotFoundError."""
        known = self._nodes.get(node)
        if known is None:
            raise NotFoundError(f"no machine {node} has joined", remedy="`squall node list` shows them")
        now_s = self._clock()
        new = await self._store.remove_node(node, at_s=now_s)
        if known.removed_s is None:
            self._nodes[node] = replace(known, removed_s=now_s)
        self.on_change()
        return new

    def _good(self, text: str, kind: TokenKind) -> TokenRecord:
        try:
            token = read_token(text)
        except InvalidError as wrong:
            raise TokenRefused(_REFUSED) from wrong
        known = self._tokens.get(token.id)
        # Compared in any case: how long it takes does not tell whether there is such a token.
        right = is_secret(token.secret, _NOBODYS if known is None else known.digest)
        if known is None or not right or known.kind is not kind or not known.is_good(self._clock()):
            raise TokenRefused(_REFUSED)
        return known
