"""Each error has a code of its own, says what to do, and comes back from the wire as itself."""

import ast
import builtins
import copy
import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

import squall
from squall.model import errors
from squall.model.errors import Error, OutOfMemory, by_code, from_wire

ALL = list(by_code().values())
SOURCE = Path(squall.__file__).parent


def codes_in_source() -> list[str]:
    """Every code that a class claims, also of modules that are not imported here."""
    found = []
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                found += [code for each in node.body if (code := claimed(each))]
    return found


def claimed(statement: ast.stmt) -> str | None:
    """The code in `code = "SQ-1234"` or `code, status = "SQ-1234", 500`, with or without an annotation."""
    value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
    first = value.elts[0] if isinstance(value, ast.Tuple) and value.elts else value
    text = first.value if isinstance(first, ast.Constant) else None
    return text if isinstance(text, str) and text.startswith("SQ-") else None


def test_no_two_classes_claim_a_code() -> None:
    counted = Counter(codes_in_source())
    assert [code for code, count in counted.items() if count > 1] == []
    assert set(counted) == set(by_code())


def test_the_tree_at_the_head_is_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for cls in ALL:
        line = next((line for line in drawn.splitlines() if line.split()[:1] == [cls.__name__]), "")
        assert line.split()[1:] == [cls.code], f"draw {cls.__name__} {cls.code}"


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_each_error_has_what_people_and_programs_need(cls: type[Error]) -> None:
    assert cls.code.startswith("SQ-")
    assert cls.code[3:].isdigit()
    assert len(cls.code) == 7
    assert 400 <= cls.status <= 599
    assert len(cls.remedy) > 8
    assert cls is Error or "remedy" in vars(cls), "a remedy of its own"
    assert getattr(errors, cls.__name__) is cls


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_each_error_comes_back_from_the_wire_and_from_pickle(cls: type[Error]) -> None:
    error = cls("what is so", remedy="what to do", more={"a": [1, None]})
    for again in (
        from_wire(json.loads(json.dumps(error.to_wire()))),
        pickle.loads(pickle.dumps(error)),
        copy.copy(error),
    ):
        assert type(again) is cls
        assert (str(again), again.remedy, again.details["more"]) == (
            "what is so",
            "what to do",
            {"a": [1, None]},
        )
        assert again.__notes__ == [f"{cls.code}: what to do"]


def test_the_facts_of_a_class_are_its_attributes() -> None:
    error = from_wire(OutOfMemory(limit_bytes=5, peak_bytes=9).to_wire())
    assert isinstance(error, OutOfMemory)
    assert (error.limit_bytes, error.peak_bytes) == (5, 9)
    assert OutOfMemory().limit_bytes is None


def test_details_cannot_take_the_place_of_what_every_error_has() -> None:
    error = from_wire(
        {"code": "SQ-1401", "args": 1, "to_wire": 2, "__class__": 3, "details": 4, "limit_bytes": 5}
    )
    assert type(error) is OutOfMemory
    assert error.to_wire()["limit_bytes"] == 5
    assert error.args == ("The container used more memory than its limit and was killed",)


def test_a_code_of_a_newer_version_keeps_its_text() -> None:
    error = from_wire({"code": "SQ-4321", "message": "a new thing", "remedy": "do this"})
    assert type(error) is Error
    assert (str(error), error.remedy, error.details["unknown_code"]) == ("a new thing", "do this", "SQ-4321")


@given(
    head=st.dictionaries(
        st.text() | st.sampled_from(["code", "message", "remedy", "status"]),
        st.none() | st.integers() | st.text(),
    )
)
def test_any_head_makes_an_error(head: dict[str, Any]) -> None:
    assert isinstance(from_wire(head), Error)


def test_what_is_like_a_builtin_is_caught_as_one() -> None:
    assert issubclass(errors.FunctionTimeout, builtins.TimeoutError)
    assert issubclass(errors.ConnectionLost, builtins.ConnectionError)
    with pytest.raises(TimeoutError):
        raise errors.StartupTimeout(limit_s=3)


def test_the_names_of_this_field_are_there() -> None:
    assert errors.SquallError is Error
    assert errors.FunctionTimeoutError is errors.FunctionTimeout
    assert errors.InputCancellation is errors.InputCancelled
