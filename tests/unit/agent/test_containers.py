"""Containers of a node: what is wanted, and at once not wanted any more."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from squall.agent.containers import Containers, Means
from squall.agent.relay import Relay
from squall.model.container import WantedContainer
from squall.model.function import Code, Function
from squall.model.ids import AppId, ContainerId, FunctionId
from squall.server.nodes import Unwanted, wanted_bytes
from squall.settings.options import Options


class Pools:
    """No launcher: none is reached here."""

    on_exit: Any = None
    on_lost: Any = None

    def release(self, function: str) -> None:
        """Nobody has one."""


class Network:
    """No container has ever been joined."""

    def release(self, container: str) -> None:
        pass


def test_a_container_that_is_let_go_before_its_start_began_is_told_to_have_ended() -> None:
    async def scene() -> None:
        told: list[dict[str, Any]] = []
        nothing = cast("Any", Pools())
        means = Means(
            pools=nothing,
            images=nothing,
            relay=Relay(),
            builds=nothing,
            templates=nothing,
            network=cast("Any", Network()),
        )
        containers = Containers(means, Options())
        containers.tell = told.append
        function = Function(
            id=FunctionId("ap/f"), app=AppId("ap"), name="f", code=Code(module="m", qualname="f")
        )
        wanted = WantedContainer(id=ContainerId("co-1"), function=function)
        containers.want(wanted_bytes((wanted,), Unwanted()))
        containers.want(wanted_bytes((), Unwanted()))
        for _turn in range(3):
            await asyncio.sleep(0)
        assert not containers.starting
        assert [(event["event"], event["container"]) for event in told] == [("ended", "co-1")]

    asyncio.run(scene())
