"""What may be a name of an image, and which names are near one that nobody published."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from squall.model.errors import ImageNameNotFound, InvalidError
from squall.model.image_name import near_names, parse_image_name, unknown_name


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("base", "base:latest"),
        ("base:1", "base:1"),
        ("team/base-2.x_y:V1.2-rc_3", "team/base-2.x_y:V1.2-rc_3"),
        ("0:_", "0:_"),
        ("a" * 128 + ":" + "b" * 128, "a" * 128 + ":" + "b" * 128),
    ],
)
def test_a_name_without_a_tag_is_that_of_the_latest(text: str, whole: str) -> None:
    assert str(parse_image_name(text)) == whole
    assert parse_image_name(whole) == parse_image_name(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ":",
            ":1",
            "base:",
            "Base",
            "-base",
            ".base",
            "/base",
            "ba se",
            "base\n",
            "base:1\n",
            "bäse",
            "base:ä",
        ),
        *(
            "base:1:2",
            "base:-1",
            "base:.1",
            "base:a/b",
            "a" * 129,
            "a:" + "b" * 129,
            "localhost:5000/base",
            "a\0",
        ),
        *(None, 3, b"base", ["base"]),
    ],
)
def test_what_is_no_name_is_refused_with_what_one_is(text: Any) -> None:
    with pytest.raises(InvalidError, match="name") as raised:
        parse_image_name(text)
    assert "NAME:TAG" in raised.value.remedy
    assert len(raised.value.message) < 300


@given(st.text(max_size=300))
def test_whatever_is_taken_says_itself_again(text: str) -> None:
    try:
        name = parse_image_name(text)
    except InvalidError:
        return
    assert str(name) in {text, f"{text}:latest"}
    assert parse_image_name(str(name)) == name


def test_the_nearest_are_other_tags_and_then_what_begins_alike() -> None:
    names = ["zoo:1", "based:1", "base:2", "base:old", "bar:1", "basic:1"]
    assert near_names("base:1", names) == ("base:2", "base:old", "based:1")
    assert near_names("nothing:1", []) == ()
    said = unknown_name("base:1", names)
    assert isinstance(said, ImageNameNotFound)
    assert "base:2, base:old, based:1" in said.message
    assert "image.publish" in said.remedy
    assert "no image has a name yet" in unknown_name("base:1", []).message
