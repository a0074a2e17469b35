"""Copying: which files go where when local files, those of a Dockerfile's context or those of another image are put into an image."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from squall.blobs.blob_store import BlobStore
from squall.blobs.kept_chunks import file_bytes
from squall.blobs.manifest import Attributes, Directory, Entry, Fifo, File, Hardlink, Manifest, Symlink
from squall.blobs.manifest_bytes import decode
from squall.images.dockerfile.copying import name_of
from squall.images.dockerfile.nouns import Copy, MakeDirectory
from squall.images.dockerfile.sources import is_pattern, named_by
from squall.images.download import Fetched
from squall.images.flight import Say
from squall.images.rooted.archives import Archives, is_archive
from squall.images.rooted.laying import Below, Blob, Bytes, Laid, led
from squall.model.errors import ImageBuildError

_USERS: Final = "etc/passwd"
_GROUPS: Final = "etc/group"
_MOST_USERS: Final = 1 << 20
_LINK_MODE: Final = 0o777
_PLAIN_MODE: Final = 0o644
_PROGRAM_MODE: Final = 0o755
_PLAIN: Final = Attributes(mode=_PLAIN_MODE)
_FOLDER: Final = Attributes(mode=_PROGRAM_MODE)
_OWN: Final = Attributes(mode=0o600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where files are copied from: the manifest of local files, or all that an image shows; and what was downloaded, by its address."""

    tree: bytes | None = None
    shown: Manifest | None = None
    fetched: Mapping[str, Fetched] = field(default_factory=dict)

    def found(self) -> dict[str, Entry]:
        """What there is, by its path."""
        if self.shown is not None:
            return _of_image(self.shown)
        return _of_local(self.tree) if self.tree is not None else {}


def placed_tree(tree: bytes, below: Below) -> tuple[Laid, ...]:
    """Local files at the places that their paths name. Raises TreeInvalid, ImageBuildError."""
    return tuple(_placed(_of_local(tree).values(), below))


def made_directory(make: MakeDirectory, below: Below) -> tuple[Laid, ...]:
    """A directory that is there afterwards; nothing where it is there already. Raises ImageBuildError where a file is in its place."""
    path = led(make.path, below)
    there = below(path)
    if there is not None and not isinstance(there, Directory):
        raise ImageBuildError(f"WORKDIR {make.path}: the image has a file there")
    return () if there is not None else (Directory(path=path, attributes=_FOLDER),)


async def copied(copy: Copy, sources: Sources, below: Below, blobs: BlobStore, say: Say) -> tuple[Laid, ...]:
    """The files of COPY and ADD, as Docker puts them: a directory's content, files by their names, and of ADD what is in local archives.

    say: is told what of an archive is left out. Raises ImageBuildError for a source that is not there and for an owner that the image does not
    know, LayerInvalid and LayerTooLarge for an archive that cannot be unpacked.
    """
    found = sources.found()
    owner = await _owner(copy.chown, below, blobs)
    # As with Docker: --chown is for what is in archives too, and --chmod is not.
    archives = Archives(copy.dest, owner if copy.chown else None, below, blobs, say)
    try:
        laid = [*await _laid(copy, found, archives, below, blobs), *_downloaded(copy, sources.fetched)]
        unpacked = await archives.laid() if archives.any else ()
    finally:
        await archives.close()
    return (*(_owned(one, owner, copy.chmod) for one in _placed(laid, below)), *unpacked)


async def _laid(
    copy: Copy, found: Mapping[str, Entry], archives: Archives, below: Below, blobs: BlobStore
) -> list[Laid]:
    """What is copied as it is, at its paths; what is unpacked is given to `archives`."""
    into = copy.dest.endswith("/") or isinstance(below(led(copy.dest, below)), Directory)
    laid: list[Laid] = []
    for pattern in copy.sources:
        matched = [path for path in _matching(pattern, found) if _is_there(path, found)]
        if not matched:
            raise ImageBuildError(
                f"line {copy.line}: there is no {pattern} to be copied", step=f"COPY {pattern}"
            )
        if len(matched) > 1 and not copy.dest.endswith("/"):
            raise ImageBuildError(
                f"line {copy.line}: {pattern} is {len(matched)} files, and {copy.dest} does not end with a slash",
                remedy=f"write {copy.dest}/",
            )
        for path in matched:
            one = _followed(path, found)
            if copy.unpack and isinstance(one, File) and await is_archive(one, blobs):
                await archives.add(one, f"{path} (line {copy.line})")
            else:
                laid += _copied_to(copy.dest, path, found, into=into)
    for file in copy.inline:
        path = posixpath.join(copy.dest, file.name) if into else copy.dest
        data = file.text.encode()
        laid.append(Bytes(path=path.strip("/"), attributes=_PLAIN, data=data))
    return laid


def _downloaded(copy: Copy, fetched: Mapping[str, Fetched]) -> Iterator[Laid]:
    """As with Docker: what is downloaded is root's to read alone, and an archive stays packed."""
    for address in copy.addresses:
        one = fetched[address]
        path = copy.dest + name_of(address) if copy.dest.endswith("/") else copy.dest
        yield Blob(path=path.strip("/"), attributes=_OWN, size=one.size, digest=one.digest)


def _copied_to(dest: str, path: str, found: Mapping[str, Entry], *, into: bool) -> Iterator[Entry]:
    one = _followed(path, found)
    if not isinstance(one, Directory):
        name = posixpath.basename(path)
        yield replace(one, path=(posixpath.join(dest, name) if into else dest).strip("/"))
        return
    top = one.path
    yield Directory(path=dest.strip("/"), attributes=_FOLDER)
    for inner, other in found.items():
        if inner != top and (not top or inner.startswith(top + "/")):
            yield replace(other, path=posixpath.join(dest, inner[len(top) :].strip("/")).strip("/"))


def _followed(path: str, found: Mapping[str, Entry]) -> Entry:
    """What is copied where a link is named: what it leads to among the sources."""
    real = led(path, found.get)
    if real not in found and real:
        raise ImageBuildError(f"the link {path} leads to nothing that can be copied")
    return found.get(real, Directory(path="", attributes=_FOLDER))


def _is_there(path: str, found: Mapping[str, Entry]) -> bool:
    return not path or path in found


def _matching(pattern: str, found: Mapping[str, Entry]) -> list[str]:
    """The paths that a source names; only patterns name several."""
    if pattern in {".", ""}:
        return [""]
    if not is_pattern(pattern):
        return [pattern.strip("/")]
    return list(filter(named_by(pattern), found))


def _of_local(manifest: bytes) -> dict[str, Entry]:
    """What local files have; of their modes only whether they are programs, for the rest is for whoever mounts them."""
    return {
        entry.path: replace(entry, attributes=replace(entry.attributes, mode=_mode(entry)))
        for entry in decode(manifest).entries
        if entry.path and isinstance(entry, File | Symlink | Directory)
    }


def _mode(entry: File | Symlink | Directory) -> int:
    match entry:
        case Symlink():
            return _LINK_MODE
        case File() if not entry.attributes.mode & 0o111:
            return _PLAIN_MODE
        case _:
            return _PROGRAM_MODE


def _of_image(shown: Manifest) -> dict[str, Entry]:
    """What an image shows; a further name of a file is a file of its own once it is copied."""
    found: dict[str, Entry] = {}
    for entry in shown.entries:
        if isinstance(entry, Hardlink):
            first = found[entry.first]
            found[entry.path] = replace(first, path=entry.path)
        elif entry.path:
            found[entry.path] = entry
    return found


def _placed(laid: Iterable[Laid], below: Below) -> Iterator[Laid]:
    """The same where the links of the image lead; a directory that is there stays as it is."""
    leads: dict[str, str] = {}
    for one in laid:
        above, _, name = one.path.rpartition("/")
        if above not in leads:
            leads[above] = led(above, below)
        path = f"{leads[above]}/{name}".strip("/")
        there = below(path)
        if isinstance(one, Directory):
            if not path or isinstance(below(led(path, below)), Directory):
                continue
            if there is not None:
                raise ImageBuildError(f"/{path} is a file in the image, and a directory is to be put there")
        elif isinstance(there, Directory):
            raise ImageBuildError(f"/{path} is a directory in the image, and a file is to be put there")
        yield replace(one, path=path)


def _owned(one: Laid, owner: tuple[int, int], chmod: str) -> Laid:
    if isinstance(one, Bytes | Blob | File | Directory | Symlink | Fifo):
        attributes = replace(one.attributes, uid=owner[0], gid=owner[1])
        if chmod and not isinstance(one, Symlink):
            attributes = replace(attributes, mode=int(chmod, 8))
        return replace(one, attributes=attributes)
    return one


async def _owner(chown: str, below: Below, blobs: BlobStore) -> tuple[int, int]:
    """The ids that USER[:GROUP] stands for in the image; its files /etc/passwd and /etc/group know the names."""
    if not chown:
        return 0, 0
    user, _, group = chown.partition(":")
    uid, own = (int(user), int(user)) if user.isdigit() else await _named(user, _USERS, below, blobs)
    if not group:
        return uid, own
    return uid, int(group) if group.isdigit() else (await _named(group, _GROUPS, below, blobs))[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who runs a command in an image, and where he is at home."""

    uid: int
    gid: int
    home: str = "/"


async def user_of(user: str, below: Below, blobs: BlobStore) -> User:
    """Who USER, or USER:GROUP, is in the image. Raises ImageBuildError for a name that it does not know.

    A number that has no name there is at home in /, and in the group of root, as with Docker.
    """
    name, _, group = user.partition(":")
    rows = await _lines(_USERS, below, blobs)
    found = next((row for row in rows if name in {row.name, str(row.number)}), None)
    if found is None and not name.isdigit():
        raise _unknown(name, _USERS)
    one = User(uid=found.number, gid=found.group, home=found.home) if found else User(uid=int(name), gid=0)
    if not group:
        return one
    gid = int(group) if group.isdigit() else (await _named(group, _GROUPS, below, blobs))[0]
    return replace(one, gid=gid)


async def _named(name: str, path: str, below: Below, blobs: BlobStore) -> tuple[int, int]:
    for row in await _lines(path, below, blobs):
        if row.name == name:
            return row.number, row.group
    raise _unknown(name, path)


def _unknown(name: str, path: str) -> ImageBuildError:
    return ImageBuildError(
        f"the image knows no {name} in /{path}", remedy="make it in a step before, or write its number"
    )


class _Row(NamedTuple):
    """A line of a file like /etc/passwd. group: of a group itself its own number."""

    name: str
    number: int
    group: int
    home: str


async def _lines(path: str, below: Below, blobs: BlobStore) -> list[_Row]:
    found = below(led(path, below))
    if not isinstance(found, File) or found.size > _MOST_USERS:
        return []
    text = b"".join([part async for part in file_bytes(found, blobs)]).decode("utf-8", "replace")
    rows = (line.split(":") for line in text.splitlines())
    return [
        _Row(
            row[0],
            int(row[2]),
            int(row[3]) if row[3].isdigit() else int(row[2]),
            row[5] if len(row) > 5 and row[5].startswith("/") else "/",
        )
        for row in rows
        if len(row) > 3 and row[2].isdigit()
    ]
