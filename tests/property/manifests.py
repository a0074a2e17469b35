"""Manifests drawn at random: directories, and layers to lay over them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from squall.blobs.digest import digest_of
from squall.blobs.manifest import (
    ROOT,
    Attributes,
    Directory,
    Entry,
    Fifo,
    File,
    Hardlink,
    Inode,
    Manifest,
    Part,
    Symlink,
    Whiteout,
    key,
)

KINDS = ("file", "directory", "symlink", "fifo", "hardlink")
MARKS = ("whiteout", "opaque")

names = st.sampled_from(["a", "b", "c", "\udcff", "a-b", "é", "a\n"])
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
xattrs = st.dictionaries(
    st.sampled_from(["user.a", "user.b", "trusted.c"]), st.binary(max_size=4), max_size=2
)
attributes = st.builds(
    lambda mode, uid, gid, mtime_ns, kept: Attributes(
        mode=mode, uid=uid, gid=gid, mtime_ns=mtime_ns, xattrs=tuple(sorted(kept.items()))
    ),
    st.sampled_from([0o644, 0o755, 0o4755, 0o1777, 0]),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(-2, 2),
    xattrs,
)


@dataclass(frozen=True, slots=True)
class Wish:
    """A path that is wanted in a manifest; it is left out where it does not fit. pick: which of several it means."""

    path: str
    kind: str
    attributes: Attributes
    pick: int


def _wishes(kinds: tuple[str, ...]) -> st.SearchStrategy[list[Wish]]:
    wish = st.builds(Wish, paths, st.sampled_from(kinds), attributes, st.integers(0, 5))
    return st.lists(wish, max_size=14)


def _granted(root: Attributes, wishes: list[Wish]) -> Manifest:
    kept: dict[str, Wish] = {}
    for wish in wishes:
        *above, _ = wish.path.split("/")
        parents = ["/".join(above[: count + 1]) for count in range(len(above))]
        if wish.path in kept or any(
            parent in kept and kept[parent].kind not in {"directory", "opaque"} for parent in parents
        ):
            continue
        for parent in parents:
            kept.setdefault(parent, Wish(parent, "directory", wish.attributes, 0))
        kept[wish.path] = wish
    entries: list[Entry] = [Directory(path=ROOT, attributes=root)]
    for wish in sorted(kept.values(), key=lambda wish: key(Whiteout(path=wish.path))):
        inodes = [entry for entry in entries if isinstance(entry, Inode)]
        if wish.kind != "hardlink":
            entries.append(_entry(wish))
        elif inodes:
            entries.append(Hardlink(path=wish.path, first=inodes[wish.pick % len(inodes)].path))
    return Manifest(tuple(entries))


def _entry(wish: Wish) -> Entry:
    kept = wish.attributes
    match wish.kind:
        case "file":
            part = Part(chunk=digest_of(bytes([wish.pick])), offset=wish.pick, length=wish.pick + 1)
            return File(path=wish.path, attributes=kept, size=wish.pick + 1, parts=(part,))
        case "directory" | "opaque":
            return Directory(path=wish.path, attributes=kept, opaque=wish.kind == "opaque")
        case "symlink":
            # The mode of a link is always the same one.
            always = Attributes(mode=0o777, uid=kept.uid, mtime_ns=kept.mtime_ns)
            return Symlink(path=wish.path, attributes=always, target=f"../{wish.pick}")
        case "fifo":
            return Fifo(path=wish.path, attributes=kept)
        case _:
            return Whiteout(path=wish.path)


directories = st.builds(_granted, attributes, _wishes(KINDS))
layers = st.builds(_granted, attributes, _wishes(KINDS + MARKS))
