"""Paths of a tree copied, moved and removed: what `cp`, `mv` and `rm` would leave, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings, strategies as st

from squall.blobs.edit import copied, moved, removed
from squall.blobs.lookup import at, end_of, inside, place_of, resolve
from squall.blobs.manifest import ROOT, Directory, Hardlink, Manifest, key
from squall.model.errors import VolumePathInvalid, VolumePathNotFound, VolumePathTaken
from tests.property.manifests import directories, paths as any_paths
from tests.property.test_stack import inodes
from tests.property.test_volume_merge import as_manifest, as_tree

TREE = {"a": "/", "a/x": "1", "a/y": "22", "b": "/", "c": "333", "l": "@a", "out": "@../z", "round": "@round"}


def tree(**changes: str | None) -> Manifest:
    """TREE with other paths; None for one that is not there; "__" in a name stands for "/"."""
    wanted = TREE | {path.replace("__", "/"): what for path, what in changes.items() if what is not None}
    gone = {path.replace("__", "/") for path, what in changes.items() if what is None}
    return as_manifest({path: what for path, what in wanted.items() if path not in gone})


def test_a_file_is_copied_to_a_name_into_a_directory_and_over_another_file() -> None:
    assert copied(tree(), ["c"], "d", into=False, recursive=False) == tree(d="333")
    assert copied(tree(), ["c"], "b", into=False, recursive=False) == tree(b__c="333")
    assert copied(tree(), ["c"], "a/x", into=False, recursive=False) == tree(a__x="333")
    assert copied(tree(), ["c", "a/x"], "b", into=False, recursive=False) == tree(b__c="333", b__x="1")


def test_a_directory_is_copied_with_all_that_is_in_it_if_that_is_said() -> None:
    with pytest.raises(VolumePathInvalid, match="is a directory"):
        copied(tree(), ["a"], "d", into=False, recursive=False)
    assert copied(tree(), ["a"], "b", into=False, recursive=True) == tree(b__a="/", b__a__x="1", b__a__y="22")
    laid_over = copied(tree(d="/", d__a="/", d__a__z="1"), ["a"], "d", into=False, recursive=True)
    assert laid_over == tree(d="/", d__a="/", d__a__x="1", d__a__y="22", d__a__z="1")


def test_what_a_copy_lies_in_is_made() -> None:
    assert as_tree(copied(tree(), ["c"], "n/m/c", into=False, recursive=False))["n/m/c"] == "333"
    assert as_tree(copied(tree(), ["c"], "n/m", into=True, recursive=False))["n/m/c"] == "333"


def test_a_path_is_moved_to_a_name_into_a_directory_and_over_a_file_or_an_empty_directory() -> None:
    assert moved(tree(), "c", "d") == tree(c=None, d="333")
    assert moved(tree(), "c", "a") == tree(c=None, a__c="333")
    assert moved(tree(), "c", "a/x") == tree(c=None, a__x="333")
    assert moved(tree(b__a="/"), "a", "b") == tree(
        a=None, a__x=None, a__y=None, b__a="/", b__a__x="1", b__a__y="22"
    )
    assert moved(tree(), "a/x", "a") == tree()


def test_nothing_of_another_kind_is_overwritten_and_nothing_goes_into_itself() -> None:
    taken: list[Callable[[], object]] = [
        lambda: copied(tree(b__c="/"), ["c"], "b", into=False, recursive=False),
        lambda: copied(tree(b__a="1"), ["a"], "b", into=False, recursive=True),
        lambda: copied(tree(), ["c"], "a/x/z", into=False, recursive=False),
        lambda: moved(tree(b__a="/", b__a__z="1"), "a", "b"),
        lambda: moved(tree(), "a", "c"),
    ]
    for one in taken:
        with pytest.raises(VolumePathTaken):
            one()
    round_about: list[Callable[[], object]] = [
        lambda: copied(tree(), ["a"], "a", into=False, recursive=True),
        lambda: copied(tree(), [ROOT], "b", into=False, recursive=True),
        lambda: moved(tree(), "a", "a/x/y"),
        lambda: moved(tree(), ROOT, "d"),
    ]
    for one in round_about:
        with pytest.raises(VolumePathInvalid):
            one()
    nothing: list[Callable[[], object]] = [
        lambda: copied(tree(), ["n"], "d", into=False, recursive=True),
        lambda: moved(tree(), "n", "d"),
        lambda: removed(tree(), "n"),
    ]
    for one in nothing:
        with pytest.raises(VolumePathNotFound):
            one()


def test_a_path_is_removed_and_a_directory_with_all_that_is_in_it_if_that_is_said() -> None:
    assert removed(tree(), "c") == tree(c=None)
    with pytest.raises(VolumePathInvalid, match="is a directory"):
        removed(tree(), "b")
    assert removed(tree(), "a", recursive=True) == tree(a=None, a__x=None, a__y=None)
    assert removed(tree(), ROOT, recursive=True) == as_manifest({})


@given(directories, st.data())
@settings(deadline=None)
def test_what_is_moved_there_and_back_is_what_it_was(before: Manifest, data: st.DataObject) -> None:
    there = [entry.path for entry in before.entries[1:]]
    assume(there)
    source = data.draw(st.sampled_from(there))
    assert moved(moved(before, source, "elsewhere"), "elsewhere", source) == before


@given(directories, st.data())
@settings(deadline=None)
def test_a_copy_shows_what_its_source_does_and_is_another_file(before: Manifest, data: st.DataObject) -> None:
    there = [entry.path for entry in before.entries[1:]]
    assume(there)
    source = data.draw(st.sampled_from(there))
    after = copied(before, [source], "elsewhere", into=False, recursive=True)
    was, now = inodes(before), inodes(after)
    for path, entry in was.items():
        assert now[path] == entry
        if path == source or path.startswith(f"{source}/"):
            copy = now[f"elsewhere{path.removeprefix(source)}"]
            assert type(copy) is type(entry)
            assert getattr(copy, "parts", None) == getattr(entry, "parts", None)
    links = [one for one in after.entries if isinstance(one, Hardlink) and one.path.startswith("elsewhere")]
    assert not links
    assert removed(after, "elsewhere", recursive=True) == before


@given(directories, any_paths)
@settings(deadline=None)
def test_a_path_is_found_where_it_is_and_what_lies_in_it(manifest: Manifest, path: str) -> None:
    by_path = {entry.path: entry for entry in manifest.entries}
    assert at(manifest, path) == by_path.get(path)
    place = place_of(manifest, path)
    if place is None:
        return
    below = [entry for entry in manifest.entries if entry.path.startswith(f"{path}/")]
    assert [entry for _, entry in inside(manifest, place, recursive=True)] == below
    direct = [entry for entry in below if len(key(entry)) == path.count("/") + 2]
    assert [entry for _, entry in inside(manifest, place, recursive=False)] == direct
    assert end_of(manifest, place) == place + 1 + len(below)


def test_links_are_followed_inside_the_tree_and_never_out_of_it() -> None:
    assert resolve(tree(), "l/x").path == "a/x"
    assert resolve(tree(), "l").path == "a"
    assert resolve(tree(back="@a/../c"), "back").path == "c"
    assert isinstance(resolve(tree(), ROOT), Directory)
    for path in ("out", "round", "out/x"):
        with pytest.raises(VolumePathInvalid):
            resolve(tree(), path)
    for path in ("n", "c/x", "a/n", "l/n"):
        with pytest.raises(VolumePathNotFound):
            resolve(tree(), path)
