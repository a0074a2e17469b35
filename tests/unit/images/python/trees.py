"""Trees made by hand: paths with their bytes, their links and their directories."""

from __future__ import annotations

from collections.abc import Mapping

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.manifest import (
    ROOT,
    Attributes,
    Directory,
    Entry,
    File,
    Hardlink,
    Manifest,
    Part,
    Symlink,
    Whiteout,
    key,
)
from squall.blobs.manifest_bytes import encode
from squall.images.python.elf import Elf
from tests.property.elves import elf_file

Made = bytes | str | None
"""A file's bytes; "-> TARGET", a link; "= PATH", another name of it; "gone", a whiteout; None, a directory."""


async def tree(blobs: BlobStore, made: Mapping[str, Made]) -> Digest:
    """The digest of a tree with these paths, and the directories above them."""
    entries: dict[str, Entry] = {}
    for path, what in made.items():
        entries[path] = await _entry(blobs, path, what)
        above = path
        while above:
            above = above.rpartition("/")[0]
            entries.setdefault(above, Directory(path=above, attributes=Attributes(mode=0o755)))
    entries.setdefault(ROOT, Directory(path=ROOT, attributes=Attributes(mode=0o755)))
    return await blobs.put(encode(Manifest(tuple(sorted(entries.values(), key=key)))))


async def _entry(blobs: BlobStore, path: str, what: Made) -> Entry:
    match what:
        case None:
            return Directory(path=path, attributes=Attributes(mode=0o750, uid=7))
        case "gone":
            return Whiteout(path=path)
        case str() if what.startswith("-> "):
            return Symlink(path=path, attributes=Attributes(mode=0o777), target=what[3:])
        case str() if what.startswith("= "):
            return Hardlink(path=path, first=what[2:])
        case bytes():
            parts = (Part(chunk=await blobs.put(what), offset=0, length=len(what)),) if what else ()
            return File(path=path, attributes=Attributes(mode=0o755), size=len(what), parts=parts)
        case _:
            raise ValueError(what)


LOADER = "lib64/ld-linux-x86-64.so.2"
LIBRARIES = "usr/lib/x86_64-linux-gnu"


def library(*defines: str, needed: tuple[str, ...] = (), machine: str = "x86_64") -> bytes:
    """A library that defines these versions of symbols."""
    return elf_file(Elf(machine=machine, needed=needed, defines=defines))


def glibc(newest: int = 36) -> dict[str, Made]:
    """The C library of a base as Debian has it."""
    versions = tuple(f"GLIBC_2.{number}" for number in range(2, newest + 1))
    return {
        "lib": "-> usr/lib",
        "lib64": "-> usr/lib64",
        "usr/lib64/ld-linux-x86-64.so.2": "-> /lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        f"{LIBRARIES}/ld-linux-x86-64.so.2": library("GLIBC_2.2.5"),
        f"{LIBRARIES}/libc.so.6": library(*versions),
        f"{LIBRARIES}/libm.so.6": library(*versions),
        "etc/os-release": b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n',
    }


def python(prefix: str, minor: str = "3.12") -> dict[str, Made]:
    """A Python below `prefix`, whole enough to be taken for one."""
    library = f"{prefix}/lib/python{minor}"
    return {
        f"{prefix}/bin/python{minor}": b"a program",
        f"{prefix}/bin/python3": f"-> python{minor}",
        **{
            f"{library}/{name}": b""
            for name in ("os.py", "asyncio/__init__.py", "ctypes/__init__.py", "json/__init__.py")
        },
    }
