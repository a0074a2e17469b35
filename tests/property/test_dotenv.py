"""Files of lines NAME=value: what is written by the rules is read as it was meant, and what is not is said by its line."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from squall.model.errors import InvalidError
from squall.sdk.dotenv import find_dotenv, parse_dotenv, read_dotenv

SAID = re.compile(r"it, line \d+: (it begins with no name|something follows the value|a ['\"] is not closed)")
names = st.text(string.ascii_letters + "_", min_size=1, max_size=8)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=30)
bare = st.from_regex(r"[A-Za-z0-9/:@%._=-][A-Za-z0-9/:@%._=#'\"-]{0,20}", fullmatch=True)


def double(value: str) -> str:
    meant = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{meant}"'


@given(st.dictionaries(names, texts, max_size=5), st.data())
def test_what_was_written_in_quotes_is_read(values: dict[str, str], how: st.DataObject) -> None:
    lines = []
    for name, value in values.items():
        before = how.draw(st.sampled_from(["", "export ", "  ", "# a comment = 1\n\n"]))
        single = "'" not in value and how.draw(st.booleans())
        after = how.draw(st.sampled_from(["", "   ", " # a 'comment'"]))
        equals = how.draw(st.sampled_from(["=", " = ", "= "]))
        quoted = f"'{value}'" if single else double(value)
        lines.append(f"{before}{name}{equals}{quoted}{after}")
    text = how.draw(st.sampled_from(["\n", "\r\n"])).join(lines)
    if "\r" not in text or not any("\n" in value for value in values.values()):
        assert parse_dotenv(text, where="x") == values


@given(st.dictionaries(names, bare, max_size=5))
def test_what_needs_no_quotes_is_read_without(values: dict[str, str]) -> None:
    text = "\n".join(f"{name}={value}  # {name}" for name, value in values.items())
    assert parse_dotenv(text, where="x") == values


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_without_a_word_of_it(text: str) -> None:
    found: dict[str, str] = {}
    said = ""
    try:
        found = parse_dotenv(text, where="it")
    except InvalidError as refused:
        said = refused.message
    assert not said or SAID.fullmatch(said)
    assert all(isinstance(value, str) for value in found.values())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\nA=2", {"A": "2"}),
        ("A=\nB= # nothing\nC", {"A": "", "B": ""}),
        ("A=a#b\nB=a #b", {"A": "a#b", "B": "a"}),
        ("A='${B}'\nB=${A}", {"A": "${B}", "B": "${A}"}),
        ('KEY="one\ntwo\\nthree"', {"KEY": "one\ntwo\nthree"}),
        ("\ufeffA=1", {"A": "1"}),
        ("A=x y  z  ", {"A": "x y  z"}),
    ],
)
def test_the_rules_one_by_one(text: str, found: dict[str, str]) -> None:
    assert parse_dotenv(text, where="x") == found


def test_the_nearest_file_upward_is_found(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=above")
    inner = tmp_path / "one" / "two"
    inner.mkdir(parents=True)
    assert find_dotenv(inner, ".env") == tmp_path / ".env"
    (inner / ".env").write_text("A=here")
    (inner / "app.py").write_text("")
    assert read_dotenv(find_dotenv(inner / "app.py", ".env")) == {"A": "here"}
    with pytest.raises(InvalidError, match=r"there is no file 'other\.env'"):
        find_dotenv(inner, "other.env")
    (inner / "latin").write_bytes(b"A=\xff")
    with pytest.raises(InvalidError, match="no text in UTF-8"):
        read_dotenv(inner / "latin")
