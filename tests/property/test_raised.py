"""Any exception is described within its bound, and any description is rebuilt without an error of its own."""

import json
from typing import Any

from hypothesis import given, settings, strategies as st

from squall.model.raised import HEAD_LIMIT_BYTES
from squall.runner.raised import describe
from squall.sdk.raised import rebuild

TYPES = (
    ValueError,
    KeyError,
    OSError,
    RuntimeError,
    UnicodeError,
    ImportError,
    AttributeError,
    NameError,
    StopIteration,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@st.composite
def exceptions(draw: st.DrawFn, depth: int = 3) -> BaseException:
    if depth and draw(st.booleans()) and draw(st.booleans()):
        inner = draw(st.lists(exceptions(depth - 1), min_size=1, max_size=4))
        made: BaseException = BaseExceptionGroup(draw(st.text()), inner)
    else:
        made = draw(st.sampled_from(TYPES))(*draw(st.lists(values, max_size=4)))
    for note in draw(st.lists(st.text(), max_size=3)):
        made.add_note(note)
    if depth and draw(st.booleans()):
        made.__cause__ = draw(exceptions(depth - 1))
    return made


@settings(deadline=None, max_examples=60)
@given(error=exceptions())
def test_an_exception_comes_back_as_it_was(error: BaseException) -> None:
    head, payload = describe(error, source_root="/app")
    assert len(json.dumps(head)) <= HEAD_LIMIT_BYTES
    again = rebuild(json.loads(json.dumps(head)), payload, source_root_local=None)
    assert type(again) is type(error)
    if not isinstance(error, BaseExceptionGroup):
        assert repr(again.args) == repr(error.args)
        assert str(again) == str(error)
    assert (again.__cause__ is None) == (error.__cause__ is None)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_a_description_with_anything_in_it_is_rebuilt_without_an_error(data: st.DataObject) -> None:
    try:
        int("x")
    except ValueError as error:
        error.__cause__ = AttributeError("x", name="y", obj=3)
        head, payload = describe(error, source_root="/app")
    target: Any = data.draw(st.sampled_from([head, *head["nodes"], *head["places"]]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(anything)
    assert isinstance(rebuild(head, payload, source_root_local="/here"), BaseException)
