"""The one line of Squall that a user's traceback shows: where the call left this process."""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import sysconfig
from collections.abc import Callable
from functools import wraps
from types import CodeType, FunctionType, TracebackType
from typing import Any, Final, TypeVar, cast

from squall.model.raised import MARKER_FILE

F = TypeVar("F", bound=Callable[..., Any])

_OUR_DIRECTORY: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STDLIB: Final = sysconfig.get_path("stdlib") + os.sep
_PLUMBING: Final = (
    _OUR_DIRECTORY,
    MARKER_FILE,
    _STDLIB + "asyncio" + os.sep,
    _STDLIB + "concurrent" + os.sep,
    _STDLIB + "contextlib.py",
    _STDLIB + "threading.py",
    _STDLIB + "functools.py",
)
# Python adds the frame that an exception leaves last, and nobody can take it away again. So this frame is made to be the
# marker: compiled under the marker's file name, all on line 1, and everything of ours below it is dropped.
_SOURCES: Final = {
    "function": """
def call(*args, **kwargs):
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        trim(error)
        raise
""",
    "coroutine": """
async def call(*args, **kwargs):
    try:
        return await function(*args, **kwargs)
    except BaseException as error:
        trim(error)
        raise
""",
    "generator": """
def call(*args, **kwargs):
    try:
        return (yield from function(*args, **kwargs))
    except BaseException as error:
        trim(error)
        raise
""",
    "async generator": """
async def call(*args, **kwargs):
    try:
        async with aclosing(function(*args, **kwargs)) as items:
            async for item in items:
                yield item
    except BaseException as error:
        trim(error)
        raise
""",
}


def boundary(name: str) -> Callable[[F], F]:
    """Decorates the outermost function of ours that users call; its errors show one line: `File "<squall>", line 1, in NAME`.

    For plain functions, coroutines, generators and asynchronous generators. Below that line come the frames that are
    the user's: remote ones, and local ones that we called.
    """

    def decorate(function: F) -> F:
        code = _code(_kind(function)).replace(co_name=name, co_qualname=name)
        names = {"function": function, "trim": trim, "aclosing": contextlib.aclosing, "__name__": __name__}
        return cast("F", wraps(function)(FunctionType(code, names)))

    return decorate


def trim(error: BaseException) -> None:
    """Drop our frames from a traceback whose first entry is the caller's own.

    Below that entry, everything up to the first frame of the user's goes, and later our own files.
    """
    first, *rest = _entries(error.__traceback__)
    leading = True
    kept = []
    for entry in rest:
        file = entry.tb_frame.f_code.co_filename
        leading = leading and file.startswith(_PLUMBING)
        if not leading and not file.startswith(_OUR_DIRECTORY):
            kept.append(entry)
    tb = None
    for entry in reversed([first, *kept]):
        tb = TracebackType(tb, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    error.__traceback__ = tb


def _entries(tb: TracebackType | None) -> list[TracebackType]:
    entries = []
    while tb is not None:
        entries.append(tb)
        tb = tb.tb_next
    return entries


def _kind(function: Callable[..., Any]) -> str:
    if inspect.isasyncgenfunction(function):
        return "async generator"
    if inspect.isgeneratorfunction(function):
        return "generator"
    return "coroutine" if inspect.iscoroutinefunction(function) else "function"


def _code(kind: str) -> CodeType:
    tree = ast.parse(_SOURCES[kind])
    for node in ast.walk(tree):
        if hasattr(node, "lineno"):
            positions: Any = node
            positions.lineno = positions.end_lineno = 1
            positions.col_offset = positions.end_col_offset = 0
    module = compile(tree, MARKER_FILE, "exec")
    return next(const for const in module.co_consts if isinstance(const, CodeType))
