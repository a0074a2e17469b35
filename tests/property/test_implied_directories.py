"""Layers with paths of whose directories they do not tell, over directories drawn at random."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings, strategies as st

from squall.blobs.manifest import Directory, Entry, File, Hardlink, Manifest
from squall.blobs.stack import stack
from tests.property.manifests import directories, paths
from tests.unit.images.oci.archives import archive, info, taken

_DATA = b"of the layer"


def above(path: str) -> set[str]:
    names = path.split("/")
    return {"/".join(names[:count]) for count in range(1, len(names))}


def without_names(manifest: Manifest) -> dict[str, Entry]:
    """What each path names in the end, whatever its first name."""
    named = {one.path: one for one in manifest.entries}
    meant = {path: named[one.first] if isinstance(one, Hardlink) else one for path, one in named.items()}
    return {path: replace(one, path="") for path, one in meant.items()}


@given(below=directories, wanted=st.sets(paths, min_size=1, max_size=5))
@settings(deadline=None)
def test_a_path_is_where_the_layer_says_and_nothing_else_changes(below: Manifest, wanted: set[str]) -> None:
    """No link of the layers below is followed: a directory comes in its place, and this is told."""
    told = {path for path in wanted if not above(path) & wanted}
    implied = set[str]().union(*map(above, told))
    members = [(info(path), _DATA) for path in sorted(told)]
    lower = {one.path: one for one in below.entries}
    kept = taken(archive(members), lower=lower.get)
    shown = without_names(stack(below, kept.manifest))
    gone = told | {path for path in implied if path in lower and not isinstance(lower[path], Directory)}
    stays = {
        path: one for path, one in without_names(below).items() if path not in gone and not above(path) & told
    }
    assert {path: one for path, one in shown.items() if path in stays} == stays
    assert shown.keys() == stays.keys() | told | implied
    for path in told:
        assert isinstance(shown[path], File)
        assert kept.data(path) == _DATA
    assert all(isinstance(shown[path], Directory) for path in implied)
    assert {note.path for note in kept.layer.notes} == gone - told
