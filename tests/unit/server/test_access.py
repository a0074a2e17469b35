"""Whom a server lets in: tokens for clients, tokens that let one machine in, and machines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from squall.context.fresh import fresh_id
from squall.model.access import Scope, TokenKind
from squall.model.errors import NodeRefused, NotFoundError, TokenRefused
from squall.model.ids import NODE, NodeId, TokenId
from squall.server.access import Access
from squall.server.permits import Caller
from squall.state.memory_state import MemoryState


class Stage:
    """An access over a memory store, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.store = MemoryState()
        self.access = Access(self.store, lambda: self.now_s)

    async def client(self, *, lasts_s: float | None = None) -> str:
        token, _ = await self.access.new_token(
            TokenKind.ACCESS, {Scope.CALL}, name="ada", lasts_s=lasts_s, authority="a" * 64
        )
        return str(token)

    async def joiner(self) -> str:
        token, _ = await self.access.new_token(
            TokenKind.JOIN, (), name="", lasts_s=3600.0, authority="a" * 64
        )
        return str(token)


def on_stage(play: Callable[[Stage], Awaitable[None]]) -> None:
    asyncio.run(_play(play))


async def _play(play: Callable[[Stage], Awaitable[None]]) -> None:
    await play(Stage())


def test_who_shows_a_token_has_its_scopes() -> None:
    async def play(stage: Stage) -> None:
        token = await stage.client()
        caller = stage.access.admit(token, "10.0.0.1:5")
        own = TokenId(token.partition(".")[0])
        assert (caller.scopes, caller.token, caller.address) == (frozenset({Scope.CALL}), own, "10.0.0.1:5")
        assert stage.access.still_good(caller)

    on_stage(play)


def test_whatever_is_wrong_with_a_token_the_same_is_said() -> None:
    async def play(stage: Stage) -> None:
        good, short, joins = await stage.client(), await stage.client(lasts_s=10.0), await stage.joiner()
        revoked = await stage.client()
        await stage.access.revoke(TokenId(revoked.partition(".")[0]))
        stage.now_s += 10.0
        id_, secret, authority = good.split(".")
        unknown = f"to-{'0' * 32}.{secret}.{authority}"
        wrong = f"{id_}.{secret[::-1]}.{authority}"
        said = set()
        for token in (short, joins, revoked, unknown, wrong, "", "x" * 1000):
            with pytest.raises(TokenRefused) as refused:
                stage.access.admit(token)
            said.add(str(refused.value))
        assert len(said) == 1
        assert stage.access.admit(good).token == id_

    on_stage(play)


def test_a_secret_is_nowhere_on_record() -> None:
    async def play(stage: Stage) -> None:
        token = await stage.client()
        secret = token.split(".")[1]
        assert secret not in repr(await stage.store.tokens())
        assert secret not in repr(stage.access.tokens)

    on_stage(play)


def test_who_came_in_by_a_token_that_ended_is_not_good_any_more() -> None:
    async def play(stage: Stage) -> None:
        changes: list[int] = []
        stage.access.on_change = lambda: changes.append(1)
        first = stage.access.admit(await stage.client())
        second = stage.access.admit(await stage.client(lasts_s=5.0))
        assert first.token is not None
        assert await stage.access.revoke(first.token)
        assert not await stage.access.revoke(first.token)
        assert changes == [1, 1]
        assert not stage.access.still_good(first)
        assert stage.access.still_good(second)
        stage.now_s += 5.0
        assert not stage.access.still_good(second)

    on_stage(play)


def test_a_token_that_another_server_revoked_is_believed_for_a_moment_only() -> None:
    async def play(stage: Stage) -> None:
        caller = stage.access.admit(await stage.client())
        assert caller.token is not None
        await stage.store.revoke_token(caller.token, at_s=1.0)
        assert stage.access.still_good(caller)
        await stage.access.reread()
        assert not stage.access.still_good(caller)

    on_stage(play)


def test_a_token_that_there_is_not_cannot_be_revoked() -> None:
    async def play(stage: Stage) -> None:
        with pytest.raises(NotFoundError):
            await stage.access.revoke(TokenId("to-none"))

    on_stage(play)


def test_a_token_lets_one_machine_in_and_that_again_when_its_answer_was_lost() -> None:
    async def play(stage: Stage) -> None:
        token, own = await stage.joiner(), fresh_id(NODE)
        first = await stage.access.enroll(token, key="k1", node=own, name="gpu")
        assert (first.id, first.name) == (own, "gpu")
        assert await stage.access.enroll(token, key="k1", node=own, name="gpu") == first
        with pytest.raises(TokenRefused):
            await stage.access.enroll(token, key="k2", node=fresh_id(NODE), name="other")
        assert stage.access.nodes == (first,)
        assert stage.access.admit_node(first.id) == Caller(
            stage.access.admit_node(first.id).kind, node=first.id
        )

    on_stage(play)


def test_a_machine_with_the_name_of_another_gets_one_of_its_own() -> None:
    async def play(stage: Stage) -> None:
        own = fresh_id(NODE)
        first = await stage.access.enroll(await stage.joiner(), key="k1", node=own, name="")
        copy = await stage.access.enroll(await stage.joiner(), key="k2", node=own, name="")
        strange = await stage.access.enroll(await stage.joiner(), key="k3", node="../../etc", name="")
        assert len({first.id, copy.id, strange.id}) == 3
        assert all(one.id.startswith("no-") for one in (first, copy, strange))

    on_stage(play)


def test_a_machine_that_was_removed_is_out_until_it_joins_anew() -> None:
    async def play(stage: Stage) -> None:
        node = await stage.access.enroll(await stage.joiner(), key="k1", node=fresh_id(NODE), name="")
        caller = stage.access.admit_node(node.id)
        assert await stage.access.remove_node(node.id)
        assert not stage.access.still_good(caller)
        with pytest.raises(NodeRefused):
            stage.access.admit_node(node.id)
        with pytest.raises(NodeRefused):
            stage.access.admit_node(NodeId("no-none"))
        again = await stage.access.enroll(await stage.joiner(), key="k1", node=node.id, name="")
        assert again.id == node.id
        assert stage.access.admit_node(node.id).node == node.id
        with pytest.raises(NotFoundError):
            await stage.access.remove_node(NodeId("no-none"))

    on_stage(play)
