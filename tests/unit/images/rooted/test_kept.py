from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from squall.images.dockerfile.nouns import ImageConfig
from squall.images.rooted.kept import Kept
from squall.images.rooted.nouns import Built, Interpreter

PYTHON = Interpreter(
    path="/usr/local/bin/python3",
    prefix="/usr/local",
    version="3.12.1",
    packages=("/usr/local/lib/python3.12/site-packages",),
)
ONE = Built(
    key="1" * 64,
    trees=("a" * 64, "b" * 64),
    config=ImageConfig(env={"A": "1"}, workdir="/srv", entrypoint=("x",), cmd=()),
    python=PYTHON,
    label="apt_install jq",
    made_s=5.0,
    took_s=1.5,
    size=7,
)


def test_an_image_is_found_as_it_was_kept_and_by_whoever_comes_next(tmp_path: Path) -> None:
    Kept(tmp_path / "images").keep(ONE)
    assert Kept(tmp_path / "images").find(ONE.key) == ONE
    assert ONE.layers == ("b" * 64, "a" * 64)


def test_nothing_is_found_before_it_is_kept_or_after_it_is_dropped(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "images")
    assert kept.find(ONE.key) is None
    assert kept.all() == ()
    kept.keep(ONE)
    assert kept.drop(ONE.key)
    assert not kept.drop(ONE.key)
    assert kept.find(ONE.key) is None


def test_a_record_that_says_something_else_is_no_image(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for wrong in ("", "{", "[]", '{"key": 5}', f'{{"key": "{"2" * 64}"}}'):
        (tmp_path / ONE.key).write_text(wrong)
        assert kept.find(ONE.key) is None
    kept.keep(ONE)
    assert kept.find(ONE.key) == ONE


def test_finding_is_using(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for built in (ONE, replace(ONE, key="2" * 64)):
        kept.keep(built)
        os.utime(tmp_path / built.key, (10.0, 10.0))
    kept.find(ONE.key)
    used = {built.key: used_s for built, used_s in kept.all()}
    assert used[ONE.key] > 1e9
    assert used["2" * 64] == 10.0


def test_what_was_coming_when_the_agent_died_is_no_image(tmp_path: Path) -> None:
    (tmp_path / f".coming-{'3' * 16}").write_text("{}")
    assert Kept(tmp_path).all() == ()


@pytest.mark.parametrize("key", ["", "../x", "A" * 64, "1" * 63])
def test_a_key_is_a_digest(key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no image has the key"):
        Kept(tmp_path).find(key)
