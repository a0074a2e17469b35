from __future__ import annotations

from dataclasses import replace

from hypothesis import given, strategies as st

from squall.images.rooted.inventory_rows import Records, chain
from squall.images.rooted.nouns import Built
from squall.images.rooted.prune import Going, InUse, Prune, what_goes
from squall.images.sweep import Layer

NOW = 1_000.0
EVERYTHING = Prune(unused_since_s=NOW)
BASE = Built(key="a" * 64, trees=("t1",), label="base", size=100)
STEP = Built(key="b" * 64, trees=("t1", "t2"), label="step", size=10, parent=BASE.key)
FINAL = Built(key="c" * 64, trees=("t1", "t2"), label="step", parent=STEP.key, final=True)
OTHER = Built(key="d" * 64, trees=("t3",), label="other", size=50)
HOST = Layer(key="e" * 64, label="pip", size_bytes=5, used_s=3.0)
ALL = Records(
    built=((BASE, 1.0), (STEP, 2.0), (FINAL, 9.0), (OTHER, 5.0)),
    host=(HOST,),
    rendered=frozenset({"t1", "t2", "t3", "left"}),
)


def keys(going: Going) -> str:
    return "".join(sorted(key[0] for key in going.keys))


def test_everything_unused_goes_with_the_directories_that_nobody_names() -> None:
    going = what_goes(ALL, EVERYTHING, InUse())
    assert keys(going) == "abcde"
    assert going.trees == ("left", "t1", "t2", "t3")


def test_what_stands_under_something_used_was_used_when_that_was() -> None:
    assert keys(what_goes(ALL, Prune(unused_since_s=6.0), InUse())) == "de"
    assert keys(what_goes(ALL, Prune(unused_since_s=4.0), InUse())) == "e"
    assert what_goes(ALL, Prune(unused_since_s=6.0), InUse()).trees == ("left", "t3")


def test_what_is_in_use_stays_with_all_below_it() -> None:
    assert keys(what_goes(ALL, EVERYTHING, InUse(keys=frozenset({FINAL.key})))) == "de"
    assert keys(what_goes(ALL, EVERYTHING, InUse(keys=frozenset({STEP.key, HOST.key})))) == "cd"
    assert what_goes(ALL, EVERYTHING, InUse(trees=frozenset({"t2"}))).trees == ("left", "t1", "t3")
    assert what_goes(ALL, EVERYTHING, InUse(everything=True)) == Going()


def test_what_has_a_name_stays_with_all_below_it_and_is_told() -> None:
    named = InUse(held=frozenset({FINAL.key}))
    going = what_goes(ALL, EVERYTHING, named)
    assert (keys(going), going.held, going.trees) == ("de", (FINAL,), ("left", "t3"))
    # It would not have gone: nothing is told.
    assert what_goes(ALL, Prune(unused_since_s=6.0), named).held == ()
    assert what_goes(ALL, EVERYTHING, replace(named, keys=frozenset({FINAL.key}))).held == ()
    assert what_goes(ALL, EVERYTHING, replace(named, since_s=9.0)).held == ()
    assert what_goes(ALL, replace(EVERYTHING, keep_bytes=164), named).held == ()
    assert what_goes(ALL, EVERYTHING, InUse(held=frozenset({"f" * 64}))).held == ()


def test_beside_a_build_what_it_may_stand_on_stays_and_so_does_every_directory() -> None:
    going = what_goes(ALL, EVERYTHING, InUse(since_s=5.0))
    assert (keys(going), going.trees) == ("e", ())


def test_no_more_goes_than_has_to_the_longest_unused_first() -> None:
    assert keys(what_goes(ALL, replace(EVERYTHING, keep_bytes=165), InUse())) == ""
    assert keys(what_goes(ALL, replace(EVERYTHING, keep_bytes=164), InUse())) == "e"
    assert keys(what_goes(ALL, replace(EVERYTHING, keep_bytes=115), InUse())) == "de"
    assert keys(what_goes(ALL, replace(EVERYTHING, keep_bytes=100), InUse())) == "bcde"
    assert keys(what_goes(ALL, Prune(unused_since_s=4.0, keep_bytes=1), InUse())) == "e"


@st.composite
def _records(draw: st.DrawFn) -> Records:
    built: list[tuple[Built, float]] = []
    for number in range(draw(st.integers(0, 8))):
        parent = draw(st.sampled_from([None, *(one for one, _ in built)]))
        trees = (*(parent.trees if parent else ()), f"t{number}")
        one = Built(
            key=f"{number:064x}",
            trees=trees,
            size=draw(st.integers(0, 9)),
            parent=parent.key if parent else "",
        )
        built.append((one, draw(st.floats(0, 10))))
    return Records(built=tuple(built), rendered=frozenset(f"t{number}" for number in range(9)))


@given(_records(), st.data())
def test_nothing_stays_without_what_it_stands_on(records: Records, data: st.DataObject) -> None:
    all_keys = sorted(records.by_key)
    in_use = InUse(
        keys=frozenset(data.draw(st.sets(st.sampled_from(all_keys)))) if all_keys else frozenset(),
        held=frozenset(data.draw(st.sets(st.sampled_from(all_keys)))) if all_keys else frozenset(),
        since_s=data.draw(st.none() | st.floats(0, 10)),
    )
    wish = Prune(unused_since_s=data.draw(st.floats(0, 11)), keep_bytes=data.draw(st.integers(0, 40)))
    going = what_goes(records, wish, in_use)
    gone = set(going.keys)
    for one, used_s in records.built:
        if one.key in gone:
            assert one.key not in in_use.keys | in_use.held
            assert used_s < wish.unused_since_s
            assert in_use.since_s is None or used_s < in_use.since_s
        else:
            assert not gone & {below.key for below in chain(one, records.by_key)}
            assert not set(going.trees) & set(one.trees)
    unnamed = what_goes(records, wish, replace(in_use, held=frozenset()))
    if not wish.keep_bytes:
        assert {one.key for one in going.held} == set(unnamed.keys) & in_use.held
