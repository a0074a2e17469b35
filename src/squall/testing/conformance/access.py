"""Access conformance: what every implementation of StateStore must do with tokens and machines that joined."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from squall.model.access import Scope, TokenKind
from squall.model.ids import NodeId, TokenId
from squall.state.records import NodeRecord, TokenRecord
from squall.state.state_store import StateStore

Check = Callable[[StateStore], Awaitable[None]]

_TOKEN: Final = TokenRecord(
    id=TokenId("to-1"),
    kind=TokenKind.ACCESS,
    name="ci é",
    scopes=frozenset({Scope.CALL, Scope.READ}),
    digest="d" * 64,
    created_s=1.5,
    expires_s=9.0,
)
_JOIN: Final = TokenRecord(id=TokenId("to-2"), kind=TokenKind.JOIN, digest="e" * 64, created_s=2.0)
_NODE: Final = NodeRecord(id=NodeId("no-1"), name="gpu-1", token=_JOIN.id, joined_s=3.0)


async def a_token_is_kept_as_it_was_recorded_first(store: StateStore) -> None:
    assert await store.tokens() == ()
    for token in (_JOIN, _TOKEN, replace(_TOKEN, digest="f" * 64, scopes=frozenset({Scope.ADMIN}))):
        await store.record_token(token)
    assert await store.tokens() == (_TOKEN, _JOIN)


async def a_token_is_revoked_once(store: StateStore) -> None:
    await store.record_token(_TOKEN)
    assert await store.revoke_token(_TOKEN.id, at_s=5.0)
    assert not await store.revoke_token(_TOKEN.id, at_s=6.0)
    assert not await store.revoke_token(_JOIN.id, at_s=6.0)
    (kept,) = await store.tokens()
    assert kept == replace(_TOKEN, revoked_s=5.0)
    assert not kept.is_good(2.0)


async def a_token_for_once_is_for_who_used_it_first(store: StateStore) -> None:
    await store.record_token(_JOIN)
    assert await store.use_token(_JOIN.id, by="key-a", at_s=5.0)
    assert await store.use_token(_JOIN.id, by="key-a", at_s=6.0), "its answer may have been lost"
    assert not await store.use_token(_JOIN.id, by="key-b", at_s=7.0)
    assert await store.tokens() == (replace(_JOIN, used_s=5.0, used_by="key-a"),)


async def of_many_who_use_a_token_at_once_one_has_it(store: StateStore) -> None:
    await store.record_token(_JOIN)
    tried = await asyncio.gather(
        *(store.use_token(_JOIN.id, by=f"key-{n}", at_s=float(n)) for n in range(20))
    )
    assert sum(tried) == 1
    (kept,) = await store.tokens()
    assert kept.used_by == f"key-{tried.index(True)}"


async def a_revoked_or_unknown_token_is_not_used(store: StateStore) -> None:
    await store.record_token(_JOIN)
    await store.revoke_token(_JOIN.id, at_s=4.0)
    assert not await store.use_token(_JOIN.id, by="key-a", at_s=5.0)
    assert not await store.use_token(TokenId("to-none"), by="key-a", at_s=5.0)
    assert await store.tokens() == (replace(_JOIN, revoked_s=4.0),)


async def a_machine_is_kept_until_it_is_removed(store: StateStore) -> None:
    other = replace(_NODE, id=NodeId("no-0"), joined_s=1.0)
    for node in (_NODE, other, replace(_NODE, name="gpu-one")):
        await store.record_node(node)
    assert await store.node_records() == (other, replace(_NODE, name="gpu-one"))
    assert await store.remove_node(_NODE.id, at_s=8.0)
    assert not await store.remove_node(_NODE.id, at_s=9.0)
    assert not await store.remove_node(NodeId("no-none"), at_s=9.0)
    assert (await store.node_records())[1].removed_s == 8.0
    await store.record_node(_NODE)
    assert await store.node_records() == (other, _NODE)


CHECKS: Final[tuple[Check, ...]] = (
    a_token_is_kept_as_it_was_recorded_first,
    a_token_is_revoked_once,
    a_token_for_once_is_for_who_used_it_first,
    of_many_who_use_a_token_at_once_one_has_it,
    a_revoked_or_unknown_token_is_not_used,
    a_machine_is_kept_until_it_is_removed,
)
"""Each takes a fresh, empty store, and raises AssertionError where the store is none of ours."""
