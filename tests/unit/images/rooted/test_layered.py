from __future__ import annotations

from hypothesis import given, strategies as st

from squall.blobs.manifest import (
    ROOT,
    Attributes,
    Directory,
    Entry,
    File,
    Hardlink,
    Manifest,
    Symlink,
    Whiteout,
)
from squall.blobs.stack import flattened
from squall.images.rooted.layered import Layered

NAMES = ("a", "b", "c")
PATHS = [
    ROOT,
    *NAMES,
    *(f"{one}/{two}" for one in NAMES for two in NAMES),
    *(f"a/b/{name}" for name in NAMES),
]


@st.composite
def layers(draw: st.DrawFn, *, lowest: bool) -> Manifest:
    """A layer of some paths; only one over another hides anything."""
    entries: list[Entry] = [Directory(path=ROOT, attributes=Attributes(mode=0o755))]
    folders = {ROOT}
    for path in PATHS[1:]:
        if path.rpartition("/")[0] not in folders:
            continue
        attributes = Attributes(mode=draw(st.sampled_from([0o700, 0o755])))
        match draw(
            st.sampled_from(["", "", "file", "link", "folder", "folder", "opaque", "whiteout", "again"])
        ):
            case "file":
                entries.append(File(path=path, attributes=attributes))
            case "link":
                entries.append(Symlink(path=path, attributes=Attributes(mode=0o777), target="x"))
            case "folder":
                folders.add(path)
                entries.append(Directory(path=path, attributes=attributes))
            case "opaque" if not lowest:
                folders.add(path)
                entries.append(Directory(path=path, attributes=attributes, opaque=True))
            case "whiteout" if not lowest:
                entries.append(Whiteout(path=path))
            case "again":
                first = next((one for one in entries if isinstance(one, File)), None)
                if first is not None and first.path.split("/") < path.split("/"):
                    entries.append(Hardlink(path=path, first=first.path))
            case _:
                pass
    return Manifest(tuple(sorted(entries, key=lambda entry: entry.path.split("/") if entry.path else [])))


@given(layers(lowest=True), st.lists(layers(lowest=False), max_size=3))
def test_each_path_shows_what_it_shows_in_the_directory_that_the_layers_make(
    lowest: Manifest, others: list[Manifest]
) -> None:
    stacked = [lowest, *others]
    shown = {entry.path: entry for entry in flattened(stacked).entries}
    found = Layered([{entry.path: entry for entry in layer.entries} for layer in reversed(stacked)])
    for path in PATHS:
        expected, entry = shown.get(path), found.at(path)
        if isinstance(expected, Hardlink):
            expected = shown[expected.first]
        if (isinstance(expected, File) and isinstance(entry, File)) or (
            isinstance(expected, Directory) and isinstance(entry, Directory)
        ):
            assert entry.attributes == expected.attributes
        else:
            assert entry == expected
