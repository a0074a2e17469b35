"""In a mount namespace of its own: changes made through an overlay, as a layer, and the layer under another overlay."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.manifest import Directory, Entry, File, Manifest, Whiteout
from squall.blobs.manifest_bytes import decode, encode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.overlay_notes import Notes
from squall.blobs.snapshot import LIKE_ANY, snapshot
from squall.blobs.stack import diff, stack
from squall.blobs.walk import How
from squall.model.errors import TreeInvalid
from squall.runtime import syscalls

PLACE = Path(sys.argv[1])
NOTES = Notes[sys.argv[2]]
BLOBS = MemoryBlobs()


def mount(lowers: list[Path], name: str, *, more: str = "") -> Path:
    """The overlay of these directories, the top one first, with a fresh upper one."""
    for part in ("upper", "work", "root"):
        (PLACE / name / part).mkdir(parents=True)
    options = f"lowerdir={':'.join(map(str, lowers))},upperdir={PLACE / name / 'upper'},workdir={PLACE / name / 'work'}"
    options += ",userxattr" if NOTES is Notes.USER else ""
    syscalls.mount("overlay", str(PLACE / name / "root"), "overlay", 0, options + more)
    return PLACE / name / "root"


def furnish(lower: Path) -> None:
    for directory in ("kept", "emptied/below", "replaced", "gone/below", "opaque/below"):
        (lower / directory).mkdir(parents=True)
    for path in (
        "kept/f",
        "kept/g",
        "emptied/below/f",
        "replaced/f",
        "gone/below/f",
        "opaque/below/f",
        "first",
        "file",
    ):
        (lower / path).write_text(path)
    os.link(lower / "first", lower / "second")
    os.link(lower / "first", lower / "third")
    (lower / "link").symlink_to("first")


def change(root: Path) -> None:
    """One of everything that people do to files."""
    (root / "kept" / "g").unlink()
    (root / "kept" / "f").write_text("changed")
    (root / "kept" / "f").chmod(0o4711)
    shutil.rmtree(root / "emptied" / "below")
    shutil.rmtree(root / "replaced")
    (root / "replaced").write_text("a file now")
    (root / "file").unlink()
    (root / "file").mkdir()
    (root / "file" / "new").write_bytes(os.urandom(700_000))
    shutil.rmtree(root / "gone")
    shutil.rmtree(root / "opaque")
    (root / "opaque").mkdir(mode=0o700)
    (root / "opaque" / "own").touch()
    (root / "first").unlink()
    os.link(root / "second", root / "second-too")
    if (
        NOTES is Notes.TRUSTED
    ):  # a link has no attributes of users: the overlay shows two inodes for its two names
        os.link(root / "link", root / "link-too", follow_symlinks=False)
    (root / "new").mkdir()
    (root / "new" / "a").write_text("a")
    os.link(root / "new" / "a", root / "new" / "b")
    os.mkfifo(root / "new" / "pipe")
    os.setxattr(root / "new" / "a", "user.note", b"\0")
    os.rename(root / "new", root / "renamed")


async def kept(directory: Path, how: How = LIKE_ANY) -> Manifest:
    taken = await snapshot(directory, BLOBS, how=how)
    assert not taken.changed
    return decode(await BLOBS.get(taken.manifest))


async def shown(manifest: Manifest) -> list[tuple[Entry, bytes]]:
    """The entries, the bytes of files in place of their parts: which chunks have them depends on what was beside them."""
    seen: list[tuple[Entry, bytes]] = []
    for entry in manifest.entries:
        if isinstance(entry, File):
            read = [(await BLOBS.get(part.chunk))[part.offset :][: part.length] for part in entry.parts]
            seen.append((replace(entry, size=0, parts=()), b"".join(read)))
        else:
            seen.append((entry, b""))
    return seen


async def rendered(manifest: Manifest, name: str, notes: Notes | None = None) -> Path:
    digest = await BLOBS.put(encode(manifest))
    await DirectoryRenderer(BLOBS, notes=notes).render(digest, PLACE / name)
    return PLACE / name


async def main() -> None:
    lower = PLACE / "lower"
    furnish(lower)
    before = await kept(lower)
    root = mount([lower], "overlay")
    change(root)
    after = await kept(root)
    layer = await kept(PLACE / "overlay" / "upper", How(notes=NOTES))
    assert not layer.whole
    assert any(getattr(entry, "opaque", False) for entry in layer.entries), "no opaque directory was seen"
    assert await shown(stack(before, layer)) == await shown(after)
    with pytest.raises(TreeInvalid, match="overlay"):
        await kept(PLACE / "overlay" / "upper")

    assert await kept(await rendered(after, "flat")) == after
    for name, one in (("layer", layer), ("difference", diff(before, after))):
        top = await rendered(one, name, NOTES)
        assert await kept(top, How(notes=NOTES)) == one, name
        again = await kept(mount([top, lower], f"over-{name}"))
        # The root of an overlay with a fresh upper directory is that directory.
        assert again.entries[1:] == after.entries[1:], name
    await redirected(lower)
    await noted_by_hand()


async def redirected(lower: Path) -> None:
    """A directory that was renamed with redirect_dir is no layer without the ones below."""
    if NOTES is Notes.USER:
        return
    root = mount([lower], "redirect", more=",redirect_dir=on")
    os.rename(root / "kept", root / "elsewhere")
    with pytest.raises(TreeInvalid, match="'elsewhere' has"):
        await kept(PLACE / "redirect" / "upper", How(notes=NOTES))


async def noted_by_hand() -> None:
    """Whiteouts of the kind that an overlay writes where it may make no device."""
    top = PLACE / "by-hand"
    (top / "d").mkdir(parents=True)
    (top / "d" / "w").touch()
    os.setxattr(top / "d" / "w", NOTES.whiteout, b"y")
    os.setxattr(top / "d", NOTES.opaque, b"x")  # not opaque: there are such whiteouts in it
    manifest = await kept(top, How(notes=NOTES))
    assert manifest.entries[2] == Whiteout(path="d/w")
    assert isinstance(manifest.entries[1], Directory)
    assert not manifest.entries[1].opaque


if __name__ == "__main__":
    asyncio.run(main())
