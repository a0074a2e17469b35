"""Local files: one manifest for equal files, in which nothing is twice and nothing lies below what is no directory."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, strategies as st

from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import digest_of
from squall.blobs.local_files import LocalDirectory, LocalEntry, LocalFile, LocalLink, local_manifest
from squall.blobs.manifest import Directory, File, Manifest, Symlink
from squall.blobs.manifest_bytes import decode, encode, manifest_digest
from squall.blobs.path_names import MAX_DEPTH, names_in
from squall.model.errors import TreeInvalid
from tests.local_trees import local_file

SOME = digest_of(b"some")

names = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=6
)
paths = st.lists(names.filter(lambda name: name not in {".", ".."}), min_size=1, max_size=4).map("/".join)
entries = st.one_of(
    st.builds(
        lambda path, data, executable: local_file(path, data, executable=executable),
        paths,
        st.binary(max_size=3),
        st.booleans(),
    ),
    st.builds(lambda path, target: LocalLink(path=path, target=target), paths, names),
    st.builds(lambda path: LocalDirectory(path=path), paths),
)


def file(path: str) -> LocalFile:
    return LocalFile(path=path, size=4, chunks=(SOME,))


def that_stand_together(drawn: list[LocalEntry]) -> list[LocalEntry]:
    kept: list[LocalEntry] = []
    for entry in drawn:
        try:
            local_manifest([*kept, entry])
        except TreeInvalid:
            continue
        kept.append(entry)
    return kept


together = st.lists(entries, max_size=8).map(that_stand_together)


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
        local_manifest([file(path)])


@pytest.mark.parametrize(
    "path", ["a", "a/b/c", "...", "..a", " ", "a\nb", "-rf", "é" * 127, "\udcff.txt", "n" * 255, "a:b\\c"]
)
def test_whatever_a_file_system_keeps_can_be_named(path: str) -> None:
    tree = local_manifest([file(path)])
    assert decode(encode(tree)) == tree
    assert b"/".join(names_in(path)) == path.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "entries",
    [
        [file("a"), file("a")],
        [file("a"), LocalLink(path="a", target="b")],
        [file("a"), LocalDirectory(path="a")],
        [file("a"), file("a/b")],
        [file("a/b"), file("a")],
        [LocalLink(path="a", target="/etc"), file("a/passwd")],
        [LocalLink(path="a", target="/etc"), file("a/b/c"), file("a-b")],
    ],
)
def test_nothing_is_there_twice_or_below_a_file_or_a_link(entries: list[LocalEntry]) -> None:
    with pytest.raises(TreeInvalid):
        local_manifest(entries)


def test_directories_follow_from_the_paths_and_all_may_be_put_below_one() -> None:
    tree = local_manifest([file("b/c"), LocalDirectory(path="b"), LocalDirectory(path="empty")], below="x/y")
    assert [entry.path for entry in tree.entries] == [
        *("", "x", "x/y", "x/y/b", "x/y/b/c", "x/y/empty"),
    ]
    assert tree.whole


def test_whoever_is_given_the_directory_may_copy_it_up_and_run_what_is_a_program() -> None:
    tree = local_manifest(
        [
            local_file("plain", b"p"),
            local_file("run", b"r", executable=True),
            LocalLink(path="l", target="/usr"),
        ]
    )
    modes = {
        entry.path: entry.attributes.mode
        for entry in tree.entries
        if isinstance(entry, File | Directory | Symlink)
    }
    assert modes == {"": 0o777, "l": 0o777, "plain": 0o666, "run": 0o777}


def test_files_of_other_bytes_have_other_times_so_that_no_old_bytecode_is_taken_for_theirs() -> None:
    def mtime_ns(data: bytes) -> int:
        (_, one) = local_manifest([local_file("m.py", data)]).entries
        assert isinstance(one, File)
        return one.attributes.mtime_ns

    times = {mtime_ns(b"x = %d" % number) for number in range(10)}
    assert len(times) == 10
    # A zip archive knows no time before 1980, and whole seconds only.
    assert all(time > 1_700_000_000 * 10**9 and time % 10**9 == 0 for time in times)


def test_a_large_file_is_cut_and_has_a_chunk_for_each_part() -> None:
    data = bytes(range(251)) * (3 * CHUNK_BYTES // 251)
    (_, one) = local_manifest([local_file("large", data)]).entries
    assert isinstance(one, File)
    assert [part.length for part in one.parts] == [CHUNK_BYTES, CHUNK_BYTES, len(data) - 2 * CHUNK_BYTES]
    with pytest.raises(TreeInvalid):
        local_manifest([LocalFile(path="large", size=len(data), chunks=(SOME,))])


@pytest.mark.parametrize("target", ["", "a\0b", "t" * 4001])
def test_a_link_leads_somewhere(target: str) -> None:
    with pytest.raises(TreeInvalid):
        local_manifest([LocalLink(path="l", target=target)])


@given(together, st.randoms(use_true_random=False))
def test_the_order_of_what_comes_is_nobodys_business(kept: list[LocalEntry], random: Random) -> None:
    mixed = list(kept)
    random.shuffle(mixed)
    assert encode(local_manifest(mixed)) == encode(local_manifest(kept))


@given(together, together)
def test_two_have_one_digest_only_if_they_are_one(one: list[LocalEntry], other: list[LocalEntry]) -> None:
    trees: list[Manifest] = [local_manifest(one), local_manifest(other)]
    assert (manifest_digest(trees[0]) == manifest_digest(trees[1])) == (trees[0] == trees[1])


@given(st.text(max_size=40))
def test_a_path_is_refused_or_stays_below(path: str) -> None:
    try:
        along = names_in(path)
    except TreeInvalid:
        return
    assert all(name not in {b"", b".", b".."} and b"/" not in name and b"\0" not in name for name in along)
