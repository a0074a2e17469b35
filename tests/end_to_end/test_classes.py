"""Classes in containers: one object each, its hooks, its methods by every verb, and a pool for each set of parameters."""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from squall.model.errors import ParameterInvalid
from tests.end_to_end.conftest import House, eventually

pytestmark = pytest.mark.needs("linux", "namespaces")


@pytest.fixture(scope="module")
def classes(at_home: House) -> Iterator[Any]:
    """The module of the app, while it runs."""
    module = importlib.import_module("classes_app")
    with module.app.run():
        yield module


def lines(classes: Any, key: str) -> list[str]:
    found: list[str] = classes.Ledger().lines.remote(key)
    return found


def test_one_object_a_container_is_entered_once_bases_first(classes: Any) -> None:
    counter = classes.Counter()
    assert counter.inherited.remote() == "Counter ['base', 'overridden', 'own']"
    assert counter.add.remote(5) == 15
    assert counter.add.remote() == 16


def test_every_verb_reaches_a_method(classes: Any) -> None:
    counter = classes.Counter()
    assert list(counter.double.map(range(300))) == [2 * number for number in range(300)]
    assert list(counter.double.starmap([(1,), (2,)])) == [2, 4]
    assert counter.double.for_each(range(3)) is None
    assert counter.double.spawn(4).get() == 8
    assert list(counter.double.spawn_map([1, 2, 3]).iter()) == [2, 4, 6]
    assert (
        list(counter.numbers.remote_gen(200))
        == list(counter.numbers_async.remote_gen(200))
        == list(range(200))
    )
    assert list(counter.numbers.remote(3)) == [0, 1, 2]
    assert counter.where.remote()[1:] == (True, "plain 10 b'\\x00' ''")
    assert counter.calls_others.remote(7) == [14, 14]


def test_every_verb_is_awaited_too(classes: Any) -> None:
    counter = classes.Counter()

    async def all_of_them() -> None:
        assert await counter.double.remote.aio(3) == 6
        assert [value async for value in counter.double.map.aio([1, 2])] == [2, 4]
        assert [item async for item in counter.numbers_async.remote_gen.aio(3)] == [0, 1, 2]
        assert await (await counter.double.spawn.aio(5)).get.aio() == 10
        assert await counter.double.for_each.aio([1]) is None

    asyncio.run(all_of_them())


def test_what_a_method_raised_is_raised_here_also_after_items(classes: Any) -> None:
    got = classes.Counter().numbers.remote_gen(2, raises=True)
    assert [next(got), next(got)] == [0, 1]
    with pytest.raises(ValueError, match="only 2"):
        next(got)
    with pytest.raises(TypeError, match="unexpected"):
        classes.Counter().double.remote(number=1, other=2)


def test_a_local_call_enters_once_and_stays_here(classes: Any) -> None:
    counter = classes.Counter(start=1)
    assert counter.add.local() == 2
    assert counter.add(3) == 5
    assert asyncio.run(counter.where.local())[0] == counter.me
    assert counter.order == ["base", "overridden", "own"]


def test_each_set_of_parameters_has_a_pool_of_its_own(classes: Any) -> None:
    plain, other = classes.Counter(), classes.Counter(start=5, label="other", data=b"\xff\x00")
    same = classes.Counter(5, "other", data=b"\xff\x00")
    assert classes.Counter(start=10).where.remote()[0] in {plain.where.remote()[0] for _ in range(20)}
    theirs = {other.where.remote()[0], same.where.remote()[0]}
    assert len(theirs) == 1, "the same values share a container"
    assert theirs.isdisjoint({plain.where.remote()[0] for _ in range(20)})
    assert other.where.remote()[2] == "other 5 b'\\xff\\x00' ''"


def test_wrong_parameters_are_named_before_anything_is_sent(classes: Any) -> None:
    for given, said in (
        ({"start": "3"}, "'start' of Counter is int, not str"),
        ({"start": True}, "'start' of Counter is int, not bool"),
        ({"other": 3}, "no parameter 'other'"),
        ({"notes": "x"}, "no parameter 'notes'"),
    ):
        with pytest.raises(ParameterInvalid, match=said):
            classes.Counter(**given)
    with pytest.raises(ParameterInvalid, match="needs the parameter 'key': str"):
        classes.Noted()


def test_exit_hooks_run_when_an_idle_container_goes_whatever_one_of_them_raises(classes: Any) -> None:
    classes.Noted(key="idle").work.remote()
    assert eventually(lambda: "exit too" in lines(classes, "idle"))
    assert lines(classes, "idle") == ["enter", "work", "over", "exit", "exit too"]


def test_exit_hooks_run_after_what_is_stopped_while_it_works(classes: Any) -> None:
    call = classes.Noted(key="stopped").work.spawn(60.0)
    eventually(lambda: "work" in lines(classes, "stopped"))
    (row,) = [row for row in containers() if row["function"].startswith("Noted@") and row["state"] == "busy"]
    squall_command("container", "stop", row["id"])
    assert eventually(lambda: "exit too" in lines(classes, "stopped"))
    assert lines(classes, "stopped")[:5] == ["enter", "work", "over", "exit", "exit too"]
    call.cancel()


def test_what_an_enter_hook_raises_is_raised_by_the_call_with_its_lines(classes: Any) -> None:
    with pytest.raises(LookupError, match="no weights here") as caught:
        classes.Broken(key="broken").never.remote()
    text = "".join(traceback.format_exception(caught.value))
    assert 'raise LookupError("no weights here")' in text
    assert "raised in Broken.wants_more, which @squall.enter() decorates" in text
    tried = len(lines(classes, "broken"))
    with pytest.raises(LookupError):
        classes.Broken(key="broken").never.remote()
    assert len(lines(classes, "broken")) <= tried + 2, "nobody tries it while nobody calls"


def test_a_class_that_is_kept_alive_and_cannot_be_entered_is_tried_less_and_less(classes: Any) -> None:
    eventually(lambda: len(lines(classes, "kept")) >= 3)
    began_s, before = time.monotonic(), len(lines(classes, "kept"))
    eventually(lambda: len(lines(classes, "kept")) >= before + 2)
    assert time.monotonic() - began_s > 0.8, "the third wait and the fourth are longer than a start"


def test_a_container_killed_in_its_enter_hook_is_followed_by_another(classes: Any) -> None:
    assert classes.Killed(key="killed").work.remote() == "done"
    assert lines(classes, "killed") == ["enter", "enter"]


def test_methods_are_tried_again_and_those_that_yield_are_not(classes: Any) -> None:
    assert classes.Tried(key="tried").work.remote() == 2
    got = classes.Tried(key="items").items.remote_gen()
    assert next(got) == 1
    with pytest.raises(ValueError, match="after one"):
        next(got)
    assert lines(classes, "items") == ["items"]


def test_a_class_in_a_program_is_run_by_its_name_and_travels_by_value(at_home: House) -> None:
    file = at_home.program(PROGRAM)
    named = at_home.run("-m", "squall", "run", f"{file}::Greeter.greet", "--name", "Ada")
    assert named.returncode == 0, named.stderr
    assert named.stdout.splitlines()[-1] == "Hello, Ada"
    piped = at_home.run("-m", "squall", "run", "-", typed=PROGRAM)
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout.splitlines()[-1] == "Hey, Bob"


PROGRAM = """
import squall

app = squall.App("greeting")

@app.cls()
class Greeter:
    word: str = squall.parameter(default="Hello")

    @squall.enter()
    def up(self):
        self.sign = ", "

    @squall.method()
    def greet(self, name: str) -> str:
        return self.word + self.sign + name

@app.local_entrypoint()
def main():
    print(Greeter(word="Hey").greet.remote("Bob"))
"""


def test_functions_of_a_deployed_app_call_its_classes_also_those_that_need_parameters(at_home: House) -> None:
    deployed = at_home.run("-m", "squall", "deploy", str(at_home.program(DEPLOYED)))
    assert deployed.returncode == 0, deployed.stderr
    ask = "import squall; print(squall.Function.from_name('with-classes', 'ask').remote(5))"
    asked = at_home.run("-c", ask)
    stopped = at_home.run("-m", "squall", "app", "stop", "with-classes")
    assert asked.stdout == "[6, 10]\n", asked.stderr
    assert stopped.returncode == 0, stopped.stderr


DEPLOYED = """
import squall

app = squall.App("with-classes")

@app.cls()
class Adds:
    by: int = squall.parameter(default=1)

    @squall.method()
    def to(self, number: int) -> int:
        return number + self.by

@app.cls()
class Needs:
    by: int = squall.parameter()

    @squall.method()
    def to(self, number: int) -> int:
        return number * self.by

@app.function()
def ask(number: int) -> list:
    return [Adds().to.remote(number), Needs(by=2).to.remote(number)]
"""


def containers() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(squall_command("container", "list", "--json"))
    return rows


def squall_command(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "squall", *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout
