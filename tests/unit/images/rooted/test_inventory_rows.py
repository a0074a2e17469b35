from __future__ import annotations

from dataclasses import replace

import pytest

from squall.images.rooted.inventory_rows import Records, chain, find_key, kind_of, rows, steps_of
from squall.images.rooted.nouns import Built, Interpreter
from squall.images.sweep import Layer
from squall.model.errors import NotFoundError

PYTHON = Interpreter(path="/usr/bin/python3", prefix="/usr", version="3.12.1", packages=())
BASE = Built(key="a" * 64, trees=("t1", "t2"), label="debian_slim", made_s=1.0, size=100)
STEP = replace(
    BASE, key="b" * 64, trees=("t1", "t2", "t3"), label="RUN x", made_s=2.0, size=10, parent=BASE.key
)
FINAL = replace(STEP, key="c" * 64, python=PYTHON, parent=STEP.key, final=True, size=0, made_s=3.0)
HOST = Layer(key="d" * 64, label="pip_install six", size_bytes=7, made_s=4.0, used_s=5.0)
ALL = Records(
    built=((STEP, 20.0), (FINAL, 30.0), (BASE, 10.0)), host=(HOST,), containers={FINAL.key: 2, HOST.key: 1}
)
LABELS = {one.key: one.label for one in (BASE, STEP, FINAL)}


def test_images_are_listed_the_newest_first_and_what_they_stand_on_only_when_asked() -> None:
    assert [row["key"][0] for row in rows(ALL, every=False)] == ["d", "c"]
    assert [row["key"][0] for row in rows(ALL, every=True)] == ["d", "c", "b", "a"]
    assert [row["key"][0] for row in rows(replace(ALL, built=ALL.built[::2]), every=False)] == ["d", "b"]


def test_a_row_says_what_an_image_is_made_of() -> None:
    host, final = rows(ALL, every=False)
    assert final == {
        "key": FINAL.key,
        "kind": "image",
        "label": "RUN x",
        "base": "debian_slim",
        "python": "3.12.1",
        "layers": 3,
        "size_bytes": 110,
        "made_s": 3.0,
        "used_s": 30.0,
        "containers": 2,
    }
    assert (host["kind"], host["label"], host["containers"], host["python"]) == (
        "host layer",
        "pip_install six",
        1,
        None,
    )
    assert [kind_of(one) for one in (BASE, STEP, FINAL)] == ["base", "layer", "image"]


def test_each_layer_was_made_by_the_first_that_has_it() -> None:
    by_key = ALL.by_key
    assert chain(FINAL, by_key) == [BASE, STEP, FINAL]
    assert steps_of(FINAL, by_key) == ["debian_slim", "debian_slim", "RUN x"]
    # A record of an older version knows nothing of what is below.
    assert steps_of(replace(FINAL, parent=""), by_key) == ["RUN x"] * 3


def test_records_that_stand_on_each_other_in_a_circle_end() -> None:
    one, other = replace(STEP, parent=FINAL.key), replace(FINAL, parent=STEP.key)
    assert rows(Records(built=((one, 1.0), (other, 2.0))), every=True)


def test_the_beginning_of_a_key_is_enough_where_no_other_begins_so() -> None:
    keys = ("ab" + "0" * 62, "ac" + "0" * 62, "b" * 64)
    for asked, found in (("ab", keys[0]), (" AC0", keys[1]), ("b", keys[2]), (keys[0], keys[0])):
        assert find_key(asked, keys, {}) == found
    with pytest.raises(NotFoundError, match="2 images here have a key that begins with 'a': ab0000000000"):
        find_key("a", keys, {})


@pytest.mark.parametrize("asked", ["", "b0", "zz", "RUN", "../../etc", "b" * 65, "\x1b[2J"])
def test_a_key_that_is_none_is_named_with_those_that_are_near(asked: str) -> None:
    with pytest.raises(NotFoundError) as refused:
        find_key(asked, LABELS, LABELS)
    assert repr(asked) in refused.value.message
    if asked == "b0":
        assert "near it: bbbbbbbbbbbb (RUN x), " in refused.value.message
    with pytest.raises(NotFoundError, match="no image here has the key"):
        find_key(asked, (), {})
