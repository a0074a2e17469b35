from __future__ import annotations

from collections.abc import Callable

import pytest

from squall.blobs.digest import Digest, digest_of
from squall.blobs.tree import (
    MAX_DEPTH,
    Directory,
    Entry,
    File,
    Link,
    Tree,
    decode_tree,
    encode_tree,
    names_in,
    tree_of,
)
from squall.model.errors import TreeInvalid

SOME = digest_of(b"some")


def file(path: str, *, executable: bool = False) -> File:
    return File(path=path, size=4, digest=SOME, executable=executable)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "..",
        "../up",
        "a/../b",
        "a/./b",
        ".",
        "a//b",
        "a/",
        "a\0b",
        "n" * 256,
        "é" * 128,
        "/".join(["d" * 200] * 30),
        "/".join("d" * (MAX_DEPTH + 1)),
        "\ud800",
    ],
)
def test_a_path_that_leaves_or_breaks_a_tree_is_refused(path: str) -> None:
    with pytest.raises(TreeInvalid):
        tree_of([file(path)])


@pytest.mark.parametrize(
    "path", ["a", "a/b/c", "...", "..a", " ", "a\nb", "-rf", "é" * 127, "\udcff.txt", "n" * 255, "a:b\\c"]
)
def test_whatever_a_file_system_keeps_can_be_named(path: str) -> None:
    tree = tree_of([file(path)])
    assert decode_tree(encode_tree(tree)) == tree
    assert b"/".join(names_in(path)) == path.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "entries",
    [
        [file("a"), file("a")],
        [file("a"), Link(path="a", target="b")],
        [file("a"), file("a/b")],
        [Link(path="a", target="/etc"), file("a/passwd")],
        [Link(path="a", target="/etc"), file("a/b/c"), file("a-b")],
    ],
)
def test_nothing_is_there_twice_or_below_a_file_or_a_link(entries: list[Entry]) -> None:
    with pytest.raises(TreeInvalid):
        tree_of(entries)


def test_the_order_of_what_comes_does_not_matter() -> None:
    entries: list[Entry] = [file("b/c"), file("b-c"), Directory(path="b"), Directory(path="empty"), file("a")]
    tree = tree_of(entries)
    assert tree == tree_of(reversed(entries))
    assert [entry.path for entry in tree.entries] == ["a", "b/c", "b-c", "empty"]


def test_a_directory_with_something_in_it_is_not_listed() -> None:
    with pytest.raises(TreeInvalid):
        Tree((Directory(path="d"), file("d/f")))
    with pytest.raises(TreeInvalid):
        Tree((file("b"), file("a")))


def test_the_x_bit_is_part_of_the_tree() -> None:
    plain, executable = tree_of([file("a")]), tree_of([file("a", executable=True)])
    assert plain.digest != executable.digest
    assert decode_tree(encode_tree(executable)) == executable


def test_a_tree_knows_its_size_and_its_blobs() -> None:
    tree = tree_of([file("a"), file("b"), Link(path="l", target="a"), Directory(path="d")])
    assert (tree.size, tree.digests) == (8, frozenset({SOME}))
    assert Tree().digest == digest_of(encode_tree(Tree()))


@pytest.mark.parametrize("target", ["", "a\0b", "t" * 4001])
def test_a_link_leads_somewhere(target: str) -> None:
    with pytest.raises(TreeInvalid):
        Link(path="l", target=target)


def test_a_link_may_lead_out_because_nobody_here_follows_it() -> None:
    tree = tree_of([Link(path="l", target="/usr/bin/python3"), Link(path="m", target="../../x")])
    assert decode_tree(encode_tree(tree)) == tree


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:-20],
        lambda raw: raw + b"\n",
        lambda raw: raw + b'["f","z",true,"' + SOME.encode() + b'"]\n',
        lambda raw: raw + b'["f","z",-1,"' + SOME.encode() + b'"]\n',
        lambda raw: raw + b'["f","z",1,"../../../x"]\n',
        lambda raw: raw + b'["q","z"]\n',
        lambda raw: raw + b'["d","a"]\n',
        lambda raw: raw + b"[" * 100_000,
        lambda raw: raw.replace(b",", b", ", 1),
        lambda raw: raw[:0],
        lambda raw: b"[1]\n" + raw,
    ],
)
def test_damaged_bytes_are_no_tree(damage: Callable[[bytes], bytes]) -> None:
    raw = encode_tree(tree_of([file("a"), file("b")]))
    with pytest.raises(TreeInvalid):
        decode_tree(damage(raw))


def test_a_file_has_a_size_and_a_digest() -> None:
    with pytest.raises(TreeInvalid):
        File(path="a", size=-1, digest=SOME)
    with pytest.raises(TreeInvalid):
        File(path="a", size=1, digest=Digest("../x"))
