from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings

from squall.blobs.manifest import Directory, Entry, Hardlink, Inode, Manifest, Whiteout, hides
from squall.blobs.stack import diff, flattened, stack
from squall.model.errors import TreeInvalid
from tests.property.manifests import directories, layers

# What a path shows, without its own name, and which paths show the same file.
Shown = dict[str, Entry]


def inodes(manifest: Manifest) -> dict[str, Entry]:
    """Each path with what it names in the end."""
    named = {entry.path: entry for entry in manifest.entries}
    return {
        path: named[entry.first] if isinstance(entry, Hardlink) else entry for path, entry in named.items()
    }


def by_hand(lower: Manifest, upper: Manifest) -> dict[str, tuple[str, Entry]]:
    """What an overlay shows, path by path: from which layer, and what."""
    over = inodes(upper)
    shown: dict[str, tuple[str, Entry]] = {}
    for path, entry in inodes(lower).items():
        names = path.split("/")
        above = {"", *("/".join(names[:count]) for count in range(1, len(names)))} - {path}
        covers = [over[one] for one in above if one in over]
        if path not in over and not any(hides(one) or not isinstance(one, Directory) for one in covers):
            shown[path] = ("lower", entry)
    for path, entry in over.items():
        if not isinstance(entry, Whiteout):
            shown[path] = ("upper", replace(entry, opaque=False) if isinstance(entry, Directory) else entry)
    return shown


def groups(shown: dict[str, tuple[str, Entry]]) -> set[frozenset[str]]:
    """The paths that are one file."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path, (layer, entry) in shown.items():
        if isinstance(entry, Inode):
            found[layer, entry.path].add(path)
    return {frozenset(paths) for paths in found.values()}


@given(directories, layers)
@settings(deadline=None, max_examples=300)
def test_a_stack_shows_what_an_overlay_of_both_shows(lower: Manifest, upper: Manifest) -> None:
    stacked, expected = stack(lower, upper), by_hand(lower, upper)
    assert stacked.whole
    assert {path: replace(entry, path="") for path, entry in inodes(stacked).items()} == {
        path: replace(entry, path="") for path, (_, entry) in expected.items()
    }
    assert groups({path: ("", entry) for path, entry in inodes(stacked).items()}) == groups(expected)


@given(directories, directories)
@settings(deadline=None, max_examples=300)
def test_a_difference_laid_over_what_was_before_shows_what_came_after(
    before: Manifest, after: Manifest
) -> None:
    assert stack(before, diff(before, after)) == after


@given(directories, layers)
@settings(deadline=None)
def test_a_small_change_has_a_small_difference(before: Manifest, change: Manifest) -> None:
    after = stack(before, change)
    told = {entry.path for entry in diff(before, after).entries}
    old, new = inodes(before), inodes(after)
    differ = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
    # Beside the paths that differ: the directories above, and the other names of the same files.
    above = {"/".join(path.split("/")[:count]) for path in told for count in range(len(path.split("/")))}
    shared = {path for path in told if path in new and any(new[path] == new.get(other) for other in differ)}
    assert told <= differ | above | shared | {""}


@given(directories)
def test_nothing_differs_from_itself(manifest: Manifest) -> None:
    nothing = diff(manifest, manifest)
    assert nothing.entries == manifest.entries[:1]
    assert stack(manifest, nothing) == manifest
    assert flattened([manifest]) == manifest


@given(directories, layers, layers)
@settings(deadline=None)
def test_layers_show_what_they_show_one_by_one(lowest: Manifest, one: Manifest, other: Manifest) -> None:
    assert flattened([lowest, one, other]) == stack(stack(lowest, one), other)


@given(layers)
def test_the_lowest_layer_has_nothing_to_hide(layer: Manifest) -> None:
    assert flattened([layer]).whole


def test_no_layers_show_nothing() -> None:
    with pytest.raises(TreeInvalid):
        flattened([])


@given(layers, directories)
def test_a_layer_is_not_taken_for_a_directory(layer: Manifest, directory: Manifest) -> None:
    if layer.whole:
        return
    for lower, upper in ((layer, directory), (directory, layer)):
        with pytest.raises(TreeInvalid, match="layer"):
            diff(lower, upper)
    with pytest.raises(TreeInvalid, match="layer"):
        stack(layer, directory)
