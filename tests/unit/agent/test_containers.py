"""Containers of a node: what is wanted, and at once not wanted any more."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, cast

import pytest

from squall.agent.buckets import Buckets
from squall.agent.containers import Containers, Means
from squall.agent.relay import Relay
from squall.agent.resting import Resting
from squall.agent.template_record import TemplateRecord, version_of
from squall.agent.templates import Templates
from squall.model.container import WantedContainer
from squall.model.function import Code, Function
from squall.model.ids import AppId, ContainerId, FunctionId
from squall.model.jsonable import to_json
from squall.runtime.spec import SandboxSpec
from squall.scheduling.template_order import Remembered
from squall.server.nodes import Unwanted, wanted_bytes
from squall.settings.options import Options
from squall.settings.paths import StatePaths
from tests.unit.agent.test_launcher_link import Launcher

FUNCTION = Function(id=FunctionId("ap/f"), app=AppId("ap"), name="f", code=Code(module="m", qualname="f"))


class Pools:
    """No launcher, no image and no network: none is reached here."""

    on_exit: Any = None
    on_lost: Any = None
    resting: Any = Resting()
    all: Any = ()

    def __init__(self) -> None:
        self.released: list[str] = []

    def release(self, function: str) -> None:
        """Nobody has one; nor an address."""
        self.released.append(function)

    def ended(self, container: str, end: Any) -> bool:
        """None is a build's."""
        return False

    def adopt(self, launcher: str, addresses: Any) -> None:
        """No container has ever been joined."""


class NoVolumes:
    """What there is where no function mounts any."""

    async def placed(self, _function: Any, spec: Any) -> Any:
        """Nothing has a place."""
        return spec

    async def adopt(self, _present: Any, **_known: Any) -> None:
        """Nothing is left of any."""

    def ended(self, container: str) -> None:
        """Nothing of it is to be committed."""


def containers_of(pools: Pools, folder: Path) -> Containers:
    nothing = cast("Any", pools)
    means = Means(
        pools=nothing,
        images=nothing,
        relay=Relay(),
        builds=nothing,
        templates=Templates(nothing, Options(), cores=2),
        record=TemplateRecord(folder / "templates.json"),
        network=nothing,
        buckets=Buckets(StatePaths(state=folder), lambda: None),
        volumes=cast("Any", NoVolumes()),
    )
    return Containers(means, Options())


def test_a_container_that_is_let_go_before_its_start_began_is_told_to_have_ended(tmp_path: Path) -> None:
    async def scene() -> None:
        told: list[dict[str, Any]] = []
        containers = containers_of(Pools(), tmp_path)
        containers.tell = told.append
        wanted = WantedContainer(id=ContainerId("co-1"), function=FUNCTION)
        containers.want(wanted_bytes((wanted,), Unwanted()))
        containers.want(wanted_bytes((), Unwanted()))
        for _turn in range(3):
            await asyncio.sleep(0)
        assert not containers.starting
        assert [(event["event"], event["container"]) for event in told] == [("ended", "co-1")]

    asyncio.run(scene())


def told(*known: str) -> bytes:
    return wanted_bytes((), Unwanted(known=tuple(map(FunctionId, known))))


def test_the_launcher_of_a_function_whose_app_ended_goes_though_it_never_had_a_container(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        pools = Pools()
        containers = containers_of(pools, tmp_path)
        plain = to_json(FUNCTION)
        known = containers.know({"image": {}, "client_python": {}, "app": "shop", "functions": [plain]})
        assert known == (FUNCTION,)
        containers.want(told("ap/g"))
        assert pools.released == ["ap/f"]

    asyncio.run(scene())


def test_of_an_app_that_ended_while_its_image_was_made_no_template_is_made(tmp_path: Path) -> None:
    async def scene() -> None:
        launcher = Launcher()
        pools = SlowPools(launcher)
        containers = containers_of(pools, tmp_path)
        known = busy_before(containers)
        containers.want(told())
        containers.ahead.quiet_s = 0.0
        containers.ahead.ready(known)
        for _turn in range(8):
            await asyncio.sleep(0)
        assert not pools.asked.is_set()
        launcher.close()

    asyncio.run(scene())


def busy_before(containers: Containers) -> tuple[Function, ...]:
    """The functions of an app that is open, whose template was worth it."""
    plain = to_json(FUNCTION)
    named = Remembered(app="shop", function="f", version=version_of(FUNCTION))
    containers.ahead.record.started(named, time.time())
    return containers.know({"image": {}, "client_python": {}, "app": "shop", "functions": [plain]})


def test_a_description_that_is_not_understood_opens_no_app_and_ends_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        containers = containers_of(Pools(), tmp_path)
        wants = {"image": {}, "client_python": {}, "functions": [{"new": "field"}]}
        assert containers.know(wants) == ()
        assert containers.know({"image": {}, "client_python": {}}) == ()

    asyncio.run(scene())


def test_a_launcher_whose_app_ended_while_no_agent_was_there_goes_too(tmp_path: Path) -> None:
    async def scene() -> None:
        pools = Pools()
        containers = containers_of(pools, tmp_path)
        launchers = {name: Launcher() for name in ("ap/f", "ap/g", "build")}
        for name, launcher in launchers.items():
            launcher.link.function = name
        adopting = asyncio.create_task(containers.adopt([one.link for one in launchers.values()]))
        for launcher in launchers.values():
            assert (await launcher.hears())["t"] == "list"
            launcher.says({"t": "containers", "containers": [], "addresses": {}})
        await adopting
        containers.want(told("ap/g"))
        assert pools.released == ["ap/f"]
        for launcher in launchers.values():
            launcher.close()

    asyncio.run(scene())


class SlowPools(Pools):
    """A launcher is there once the test says so."""

    def __init__(self, launcher: Launcher) -> None:
        super().__init__()
        self.all = [launcher.link]
        self.asked, self.there = asyncio.Event(), asyncio.Event()

    async def launcher(self, _function: str, _family: str = "") -> Any:
        self.asked.set()
        await self.there.wait()
        return self.all[0]

    # The images and the network of this stage, too.

    async def wait_for(self, _function: Function) -> None:
        """It is there."""

    def spec_for(self, wanted: WantedContainer, _prepared: None, *, uid_base: int | None) -> SandboxSpec:
        return SandboxSpec(id=wanted.id, scratch="/scratch/x", lowers=("/lower",), uid_base=uid_base)

    async def join(self, spec: SandboxSpec, *, blocked: bool) -> SandboxSpec:
        return spec


@pytest.mark.parametrize("ends", [True, False])
def test_an_app_that_ends_while_a_launcher_is_found_for_its_template_leaves_none(
    tmp_path: Path, ends: bool
) -> None:
    async def scene() -> None:
        launcher = Launcher()
        pools = SlowPools(launcher)
        containers = containers_of(pools, tmp_path)
        containers.ahead.ready(busy_before(containers))
        await pools.asked.wait()
        containers.want(told() if ends else told("ap/f"))
        before = list(pools.released)
        pools.there.set()
        if ends:
            async with asyncio.timeout(10):
                while pools.released == before:
                    await asyncio.sleep(0)
            assert pools.released[-1] == "ap/f"
            assert not containers.ahead.templates.asked_for("ap/f")
        else:
            assert (await launcher.hears())["t"] == "template"
            assert "ap/f" not in pools.released
        containers.ahead.close()
        launcher.close()

    asyncio.run(scene())


def test_ends_that_no_server_has_heard_of_are_told_to_the_next_one_each_once(tmp_path: Path) -> None:
    async def run() -> None:
        containers = containers_of(Pools(), tmp_path)
        ends = {name: {"event": "ended", "container": name} for name in ("co-1", "co-2", "co-3")}
        containers.unreported.update(ends)
        told: list[str] = []

        def tell(event: dict[str, Any]) -> None:
            # As the agent does: what has left is struck out; the connection ends after the second.
            if len(told) < 2:
                told.append(event["container"])
                del containers.unreported[event["container"]]

        containers.tell = tell
        containers.report_again()
        assert told == ["co-1", "co-2"]
        assert list(containers.unreported) == ["co-3"]

    asyncio.run(run())


def test_a_container_that_ends_while_its_launcher_is_being_taken_over_does_not_take_the_others_with_it(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        pools = Pools()
        containers = containers_of(pools, tmp_path)
        said: list[str] = []

        class Link:
            function = "ap/f"

            def tell(self, kind: str, **_more: Any) -> None:
                said.append(kind)

        link = cast("Any", Link())
        containers.foresee([link])
        containers._exited(link, {"container": "co-1", "cause": "exit", "code": 0})
        assert said == ["forget"]
        assert pools.released == ["co-1"], "its address, and no launcher"

    asyncio.run(run())
