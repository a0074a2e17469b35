"""Templates made before anybody calls: which, when, one at a time; and what the first containers do meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from squall.agent.ahead import Ahead
from squall.agent.template_record import TemplateRecord, version_of
from squall.agent.templates import Templates
from squall.model.function import Code, Function
from squall.model.gpu import Gpus
from squall.model.ids import AppId, FunctionId
from squall.runtime.spec import SandboxSpec
from squall.scheduling.template_order import Remembered
from squall.settings.options import Options
from tests.unit.agent.test_launcher_link import Launcher

NO_BLOBS = cast("Any", None)


def function(name: str, *, app: str = "ap-1", source: str = "aa", **fields: Any) -> Function:
    code = Code(module="m", qualname=name, source=source)
    return Function(id=FunctionId(f"{app}/{name}"), app=AppId(app), name=name, code=code, **fields)


def spec(name: str = "co-1", **fields: Any) -> SandboxSpec:
    return SandboxSpec(id=name, scratch=f"/scratch/{name}", **{"lowers": ("/lower",), **fields})


class Stage:
    """A node that remembers, and whose templates are made when the test says so."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.record = TemplateRecord(folder / "templates.json")
        self.templates = Templates(NO_BLOBS, Options(**options), cores=2)
        self.begun: list[str] = []
        self.done: list[asyncio.Future[None]] = []
        self.ahead = Ahead(self.record, self.templates, Options(**options), self.make)
        self.ahead.quiet_s = 0.0

    async def make(self, one: Function) -> None:
        self.begun.append(one.name)
        self.done.append(asyncio.get_running_loop().create_future())
        await self.done[-1]

    def was_busy(self, one: Function, starts: int, *, app: str = "shop") -> None:
        for _ in range(starts):
            self.record.started(named(one, app), time.time())

    def opens(self, *functions: Function, app: str = "shop") -> None:
        self.ahead.know(app, functions)
        self.ahead.ready(functions)


def named(one: Function, app: str = "shop") -> Remembered:
    return Remembered(app=app, function=one.name, version=version_of(one))


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


def play(scene: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(scene(), 30))


def test_they_are_made_one_at_a_time_and_the_hottest_first(tmp_path: Path) -> None:
    async def scene() -> None:
        stage = Stage(tmp_path)
        cold, warm, hot = function("cold"), function("warm"), function("hot")
        stage.was_busy(warm, 2)
        stage.was_busy(hot, 5)
        stage.opens(cold, warm, hot)
        await settle()
        assert stage.begun == ["hot"]
        stage.done[0].set_result(None)
        await settle()
        assert stage.begun == ["hot", "warm"]
        stage.done[1].set_result(None)
        await settle()
        assert stage.begun == ["hot", "warm"]
        stage.ahead.close()

    play(scene)


def test_an_edited_function_gets_its_own_and_one_of_another_app_gets_none(tmp_path: Path) -> None:
    async def scene() -> None:
        stage = Stage(tmp_path)
        stage.was_busy(function("f"), 3)
        stage.opens(function("f", app="ap-2"), app="other")
        await settle()
        assert stage.begun == []
        stage.opens(function("f", app="ap-3", source="bb"))
        await settle()
        assert stage.begun == ["f"]
        stage.ahead.close()

    play(scene)


def test_none_is_made_before_its_image_is_there_or_after_its_app_has_ended(tmp_path: Path) -> None:
    async def scene() -> None:
        stage = Stage(tmp_path)
        one = function("f")
        stage.was_busy(one, 3)
        stage.ahead.know("shop", [one])
        stage.opens(function("g"))
        await settle()
        assert stage.begun == []
        stage.ahead.keep_only(frozenset())
        stage.ahead.ready([one])
        await settle()
        assert stage.begun == []

    play(scene)


def test_none_is_made_where_none_shall_be_or_can_be(tmp_path: Path) -> None:
    async def scene() -> None:
        stage = Stage(tmp_path, templates_ahead=0)
        one = function("f")
        stage.was_busy(one, 3)
        stage.opens(one)
        (tmp_path / "other").mkdir()
        other = Stage(tmp_path / "other")
        device = function("device", gpu=(Gpus(type="any", count=1),))
        demanded = function("demanded", start_path="parked")
        refused = function("refused")
        other.record.refused(named(refused), time.time())
        for each in (device, demanded, refused):
            other.was_busy(each, 3)
        other.opens(device, demanded, refused)
        await settle()
        assert stage.begun == other.begun == []

    play(scene)


def test_one_that_cannot_be_made_keeps_no_other_from_being_made_and_is_not_tried_again(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        stage = Stage(tmp_path)
        first, second = function("a"), function("b")
        stage.was_busy(first, 3)
        stage.was_busy(second, 2)
        stage.opens(first, second)
        await settle()
        stage.done[0].set_exception(ValueError("no launcher"))
        await settle()
        assert stage.begun == ["a", "b"]
        stage.done[1].set_result(None)
        await settle()
        stage.opens(first, second)
        await settle()
        assert stage.begun == ["a", "b"]

    play(scene)


def test_what_becomes_of_templates_is_remembered_by_the_version_that_was_open(tmp_path: Path) -> None:
    async def scene() -> None:
        stage = Stage(tmp_path)
        one, edited, stranger = function("f"), function("f", app="ap-2", source="bb"), function("g")
        stage.ahead.know("shop", [one, edited])
        stage.templates.settled(one, "ready", {"seconds": 2.0, "modules": ["numpy"]}, 2**20)
        stage.templates.settled(edited, "refused", {}, 0)
        stage.templates.settled(stranger, "ready", {}, 0)
        for rung in ("parked", "exec", "spare", "pooled", "on_demand"):
            stage.ahead.started(one.id, rung)
        stage.ahead.close()
        kept = {row.version: row for row in TemplateRecord(tmp_path / "templates.json").rows}
        assert set(kept) == {version_of(one), version_of(edited)}
        first = kept[version_of(one)]
        assert (round(first.starts), first.load_s, first.modules) == (3, 2.0, ("numpy",))
        assert kept[version_of(edited)].refused

    play(scene)


# -- with a launcher


def test_while_one_is_made_ahead_the_first_containers_do_not_wait_for_it(tmp_path: Path) -> None:
    async def scene() -> None:
        launcher, stage, one = Launcher(), Stage(tmp_path), function("f")
        making = asyncio.create_task(stage.templates.make_ahead(launcher.link, one, spec("co-0")))
        assert (await launcher.hears())["t"] == "template"
        assert stage.templates.unused == 1
        assert await stage.templates.before_start(launcher.link, one, spec("co-1")) == "parked"
        assert "still being made" in stage.templates.words(launcher.link, "parked")
        assert stage.templates.unused == 0, "somebody has called"
        # Two cores, one of which makes the template: the next one waits for it.
        second = asyncio.create_task(stage.templates.before_start(launcher.link, one, spec("co-2")))
        await settle()
        assert not second.done()
        launcher.says({"t": "template", "state": "ready", "pid": 0, "seconds": 1.0})
        assert await second == ""
        await making
        assert await stage.templates.before_start(launcher.link, one, spec("co-3")) == ""
        launcher.close()

    play(scene)


def test_one_that_was_made_ahead_is_taken_by_the_first_container(tmp_path: Path) -> None:
    async def scene() -> None:
        launcher, stage, one = Launcher(), Stage(tmp_path), function("f")
        making = asyncio.create_task(stage.templates.make_ahead(launcher.link, one, spec("co-0")))
        told = await launcher.hears()
        assert told["spec"]["id"].startswith("t-")
        launcher.says({"t": "template", "state": "ready", "pid": 0})
        await making
        assert await stage.templates.before_start(launcher.link, one, spec("co-1")) == ""
        assert stage.templates.asked_for(one.id)
        launcher.close()

    play(scene)


def test_what_is_called_at_once_has_nothing_made_beside_it(tmp_path: Path) -> None:
    async def scene() -> None:
        launcher, stage = Launcher(), Stage(tmp_path)
        called, other = function("called"), function("other")
        for one in (called, other):
            stage.was_busy(one, 3)
        stage.opens(called, other)
        assert await stage.templates.before_start(launcher.link, called, spec("co-1")) == ""
        await settle()
        assert stage.begun == []
        # Once its own template is there, others are made.
        assert (await launcher.hears())["t"] == "template"
        launcher.says({"t": "template", "state": "ready", "pid": 0})
        while not stage.begun:
            await asyncio.sleep(0.01)
        assert stage.begun == ["other"]
        stage.ahead.close()
        launcher.close()

    play(scene)


def test_where_a_container_came_first_nothing_is_asked_for_twice(tmp_path: Path) -> None:
    async def scene() -> None:
        launcher, stage, one = Launcher(), Stage(tmp_path), function("f")
        assert await stage.templates.before_start(launcher.link, one, spec("co-1")) == ""
        await stage.templates.make_ahead(launcher.link, one, spec("co-0"))
        await settle()
        assert stage.templates.unused == 0
        stage.templates.forget(launcher.link)
        launcher.close()

    play(scene)


def test_a_launcher_that_is_lost_meanwhile_lets_go_of_who_waits(tmp_path: Path) -> None:
    async def scene() -> None:
        launcher, stage, one = Launcher(), Stage(tmp_path), function("f")
        making = asyncio.create_task(stage.templates.make_ahead(launcher.link, one, spec("co-0")))
        await launcher.hears()
        stage.templates.forget(launcher.link)
        await making
        assert not stage.templates.asked_for(one.id)
        launcher.close()

    play(scene)


def test_what_can_have_no_template_gets_none(tmp_path: Path) -> None:
    async def scene() -> None:
        launcher, stage, one = Launcher(), Stage(tmp_path), function("f")
        for other in (
            spec(interpreter="/usr/bin/python3"),
            spec(level="crun", runtime=("/usr/bin/crun",), interpreter="/usr/bin/python3"),
        ):
            await stage.templates.make_ahead(launcher.link, one, other)
        assert not stage.templates.asked_for(one.id)
        launcher.close()

    play(scene)
