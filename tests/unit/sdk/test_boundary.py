"""Users see one line of ours in a traceback, whichever kind of function they called."""

import asyncio
import inspect
import traceback
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from squall.runner.raised import describe
from squall.sdk import raised as ours
from squall.sdk.boundary import boundary
from squall.sdk.raised import rebuild

# Functions that count as the SDK's own: compiled under the name of one of its files.
_names: dict[str, Any] = {}
exec(
    compile(
        """
def fail(error): inner(error)
def inner(error): raise error
async def afail(error):
    import asyncio
    await asyncio.wait_for(ainner(error), 5)
async def ainner(error): raise error
def gfail(error):
    yield 1
    inner(error)
async def agfail(error):
    yield 1
    inner(error)
def calls(user): user()
""",
        ours.__file__,
        "exec",
    ),
    _names,
)
fail, afail, gfail, agfail, calls = (
    boundary(name)(_names[name]) for name in ("fail", "afail", "gfail", "agfail", "calls")
)


def remote() -> BaseException:
    def users_function() -> None:
        raise ValueError("remote")

    with pytest.raises(ValueError) as caught:
        users_function()
    caught.value.__traceback__ = caught.value.__traceback__.tb_next  # type: ignore[union-attr]
    return rebuild(*describe(caught.value, source_root="/app"), source_root_local="/app")


def here(error: BaseException) -> None:
    fail(error)


async def here_async(error: BaseException) -> None:
    await afail(error)


def here_iterating(error: BaseException) -> None:
    iterator: Iterator[int] = gfail(error)
    for _ in iterator:
        pass


async def here_iterating_async(error: BaseException) -> None:
    iterator: AsyncIterator[int] = agfail(error)
    async for _ in iterator:
        pass


def shown(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (here, "fail"),
        (lambda error: asyncio.run(here_async(error)), "afail"),
        (here_iterating, "gfail"),
        (lambda error: asyncio.run(here_iterating_async(error)), "agfail"),
    ],
)
@pytest.mark.parametrize("far", [True, False])
def test_one_line_stands_between_the_call_and_the_remote_frames(call: Any, name: str, *, far: bool) -> None:
    error = remote() if far else KeyError("ours")
    with pytest.raises(type(error)) as caught:
        call(error)
    frames = traceback.extract_tb(caught.value.__traceback__)
    ours_shown = [
        at for at, frame in enumerate(frames) if "squall" in frame.filename and "tests" not in frame.filename
    ]
    assert [frames[at].name for at in ours_shown] == [name]
    assert (frames[ours_shown[0]].filename, frames[ours_shown[0]].lineno) == ("<squall>", 1)
    below = shown(caught.value)[ours_shown[0] + 1 :]
    assert below == (["users_function"] if far else [])
    assert shown(caught.value)[ours_shown[0] - 1].startswith("here")


def test_frames_of_users_code_that_we_call_stay() -> None:
    def callback() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError) as caught:
        calls(callback)
    assert shown(caught.value)[-2:] == ["calls", "callback"]


def test_a_boundary_gives_what_its_function_gives() -> None:
    assert boundary("pair")(lambda a, *, b: (a, b))(1, b=2) == (1, 2)

    def items() -> Generator[int, int, None]:
        got = yield 1
        yield got

    iterator: Any = boundary("items")(items)()
    assert (next(iterator), iterator.send(7)) == (1, 7)


def test_the_kind_and_the_name_of_a_function_stay() -> None:
    assert inspect.iscoroutinefunction(afail)
    assert inspect.isgeneratorfunction(gfail)
    assert inspect.isasyncgenfunction(agfail)
    assert fail.__name__ == "fail"


def test_an_abandoned_asynchronous_generator_is_closed() -> None:
    closed = []

    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    async def main() -> None:
        iterator: Any = boundary("items")(items)()
        await anext(iterator)
        await iterator.aclose()

    asyncio.run(main())
    assert closed == [True]
