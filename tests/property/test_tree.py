from __future__ import annotations

from random import Random

from hypothesis import given, strategies as st

from squall.blobs.digest import digest_of
from squall.blobs.tree import Directory, Entry, File, Link, Tree, decode_tree, encode_tree, names_in, tree_of
from squall.model.errors import TreeInvalid

names = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=6
)
paths = st.lists(names.filter(lambda name: name not in {".", ".."}), min_size=1, max_size=4).map("/".join)
entries = st.one_of(
    st.builds(
        lambda path, data, executable: File(
            path=path, size=len(data), digest=digest_of(data), executable=executable
        ),
        paths,
        st.binary(max_size=3),
        st.booleans(),
    ),
    st.builds(lambda path, target: Link(path=path, target=target), paths, names),
    st.builds(lambda path: Directory(path=path), paths),
)


def any_tree(drawn: list[Entry]) -> Tree:
    """The tree of those entries that can stand together."""
    kept: list[Entry] = []
    for entry in drawn:
        try:
            tree_of([*kept, entry])
        except TreeInvalid:
            continue
        kept.append(entry)
    return tree_of(kept)


trees = st.lists(entries, max_size=8).map(any_tree)


@given(trees)
def test_a_tree_survives_its_bytes(tree: Tree) -> None:
    assert decode_tree(encode_tree(tree)) == tree


@given(trees, trees)
def test_two_trees_have_one_digest_only_if_they_are_one(one: Tree, other: Tree) -> None:
    assert (one.digest == other.digest) == (one == other)


@given(trees, st.randoms(use_true_random=False))
def test_the_order_of_entries_is_nobodys_business(tree: Tree, random: Random) -> None:
    mixed = list(tree.entries)
    random.shuffle(mixed)
    assert tree_of(mixed) == tree


@given(st.text(max_size=40))
def test_a_path_is_refused_or_stays_below(path: str) -> None:
    try:
        along = names_in(path)
    except TreeInvalid:
        return
    assert all(name not in {b"", b".", b".."} and b"/" not in name and b"\0" not in name for name in along)


@given(trees, st.data())
def test_any_changed_byte_is_noticed_or_another_tree(tree: Tree, data: st.DataObject) -> None:
    raw = bytearray(encode_tree(tree))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        other = decode_tree(raw)
    except TreeInvalid:
        return
    assert other != tree
