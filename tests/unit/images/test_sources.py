"""Sources of COPY: patterns name what Go's rules say they name."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from squall.images.dockerfile.sources import named_by
from squall.model.errors import InvalidError


@pytest.mark.parametrize(
    ("source", "named", "others"),
    [
        ("a.txt", ["a.txt"], ["b.txt", "a.txt/b", "d/a.txt"]),
        ("/d/", ["d"], ["d/a", ""]),
        ("*.txt", ["a.txt", ".txt"], ["d/a.txt", "a.txt.gz", "a.md"]),
        ("d/*", ["d/a", "d/.hidden"], ["d", "d/a/b", "e/a"]),
        ("?.txt", ["a.txt"], ["ab.txt", ".txt", "/.txt"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x", "-x"]),
        ("[^a-c]x", ["dx", "^x"], ["ax", "x"]),
        (r"[\]]x*", ["]x", "]xy"], ["x", "\\x"]),
        ("[[]x", ["[x"], ["x", "]x"]),
        ("[a-cx.]", ["b", "x", "."], ["-", "d", ""]),
        (r"[\-a]", ["-", "a"], ["\\"]),
        ("[&&~~||]", ["&", "~", "|"], ["a"]),
        (r"\*?", ["*a"], ["aa", r"\*a"]),
        ("**", ["a"], ["a/b"]),
    ],
)
def test_a_source_names_these_paths_and_no_others(source: str, named: list[str], others: list[str]) -> None:
    is_named = named_by(source)
    assert [path for path in [*named, *others] if is_named(path)] == named


@given(st.text("ab*?[]^-\\/.", min_size=1, max_size=12))
def test_any_text_is_a_source_or_is_refused_by_name(source: str) -> None:
    try:
        is_named = named_by(source)
    except InvalidError as error:
        refused = error.message
    else:
        refused = repr(source) if isinstance(is_named("ab/a"), bool) else ""
    assert repr(source) in refused


@pytest.mark.parametrize("source", ["[z-a]", "[x", "[]", "[]]", "[-a]", "[a-]", "a/[", r"[a\\"])
def test_brackets_that_are_none_are_refused(source: str) -> None:
    with pytest.raises(InvalidError, match="means nothing"):
        named_by(source)
