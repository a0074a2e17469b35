"""Base look: looks into the stacked trees of an image for what decides which Python it can be given.

Nothing of it is opened on this machine: paths and links are followed in the manifests, and bytes come out of the store.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.kept_chunks import ChunkReader
from squall.blobs.manifest import ROOT, Attributes, Directory, Entry, File, Hardlink, Manifest, Symlink
from squall.images.host import Seen, follow, join, parent
from squall.images.python.elf import newest_glibc, read_elf
from squall.images.python.nouns import PREFIX, Base, BasePython, Distribution, Libc, Wanted
from squall.images.shown import shown_by
from squall.runtime.ld_cache import libraries_in

_MAX_LIBRARY_BYTES: Final = 64 << 20  # held in memory while it is read
_MAX_TEXT_BYTES: Final = 1 << 20
_LOADERS: Final = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}
_PLACES: Final = (
    *("usr", "usr/bin", "usr/lib", "usr/lib64", "usr/include"),
    *(PREFIX, f"{PREFIX}/bin", f"{PREFIX}/lib", f"{PREFIX}/lib64", f"{PREFIX}/include"),
)
_PROGRAM = re.compile(r"python(3\.\d{1,2})")
_LINE = re.compile(r"""([A-Z_]+)=(?:"([^"\n]*)"|'([^'\n]*)'|([^\s"']*))""")
# What a Python has that was taken apart into packages, and of which only the smallest is there.
_WHOLE: Final = ("os.py", "asyncio/__init__.py", "ctypes/__init__.py", "json/__init__.py")
_DEBIANS: Final = frozenset({"debian", "ubuntu"})


async def look_at_base(
    trees: Sequence[Digest], blobs: BlobStore, wanted: Wanted, libraries: Collection[str] = ()
) -> Base:
    """What the stacked trees, the lowest first, say of the base. libraries: the names that are asked for.

    All paths are held at once, as for a pull. Raises TreeInvalid for trees that are none, and what the store raises.
    """
    looking = _Looking(await shown_by(trees, blobs), blobs)
    libc, library_dir = await _libc(looking, wanted.machine)
    places = (*_PLACES, *((f"{PREFIX}/lib/python{wanted.minor}",) if wanted.minor else ()))
    distribution = await _distribution(looking)
    return Base(
        libc=libc,
        loader=_LOADERS[wanted.machine] if library_dir else "",
        library_dir=library_dir.removeprefix("/"),
        libraries=await _libraries(looking, wanted.machine, libraries) if library_dir else {},
        pythons=tuple(_pythons(looking, wanted, distribution)),
        distribution=distribution,
        diverted=tuple(path for path in places if looking.is_other(path)),
        attributes=looking.directories((*_PLACES, library_dir)),
    )


class _Looking:
    """The paths of a base."""

    def __init__(self, shown: Manifest, blobs: BlobStore) -> None:
        self._entries: dict[str, Entry] = {entry.path: entry for entry in shown.entries}
        self._blobs = blobs
        self._chunks = ChunkReader(blobs)

    def look(self, path: str) -> Seen | None:
        """What an absolute path is, as `squall.images.host.follow` asks."""
        match self._entry(path):
            case Directory():
                return Seen(kind="dir")
            case Symlink(target=target):
                return Seen(kind="link", target=target)
            case File():
                return Seen(kind="file")
            case _:
                return None

    def real(self, path: str) -> str | None:
        """Where a file really lies, every link on the way followed inside the image; None where there is none."""
        found = follow(path, self.look)
        return found.real if found.seen is not None and found.seen.kind == "file" else None

    def is_other(self, path: str) -> bool:
        """Whether something that is no directory stands at a path of the tree."""
        seen = self.look(f"/{path}")
        return seen is not None and seen.kind != "dir"

    async def read(self, path: str, most: int) -> bytes | None:
        """The bytes of a file; None where there is none, or one of more than `most` bytes."""
        real = self.real(path)
        entry = self._entry(real) if real else None
        if not isinstance(entry, File) or entry.size > most:
            return None
        return b"".join([await self._chunks.part(part) for part in entry.parts])

    def directories(self, tops: Sequence[str]) -> dict[str, Attributes]:
        """What those directories have that lead to one of these, by their paths in a tree, and those below PREFIX."""
        ways = {ROOT} | {above for top in tops if top for above in _way(top.removeprefix("/"))}
        return {
            path: entry.attributes
            for path, entry in self._entries.items()
            if isinstance(entry, Directory) and (path in ways or path.startswith(f"{PREFIX}/"))
        }

    def _entry(self, path: str) -> Entry | None:
        entry = self._entries.get(path.removeprefix("/"))
        return self._entries.get(entry.first) if isinstance(entry, Hardlink) else entry


async def _libc(looking: _Looking, machine: str) -> tuple[Libc | None, str]:
    """The C library, and the directory that it really lies in."""
    if looking.real(_LOADERS.get(machine, "/lib/ld.so.1")) is not None:
        for directory in _default_directories(machine):
            data = await looking.read(join(directory, "libc.so.6"), _MAX_LIBRARY_BYTES)
            elf = read_elf(data) if data is not None else None
            version = newest_glibc(elf.defines) if elf is not None and elf.machine == machine else None
            real = looking.real(join(directory, "libc.so.6"))
            if version is not None and real is not None:
                return Libc(kind="glibc", version=version), parent(real)
    if looking.real(f"/lib/ld-musl-{machine}.so.1") is not None:
        return Libc(kind="musl"), ""
    return None, ""


async def _libraries(
    looking: _Looking, machine: str, names: Collection[str]
) -> Mapping[str, tuple[str, ...]]:
    """Those of `names` that the loader finds, by its cache and in the directories in which it looks without being told."""
    cache = await looking.read("/etc/ld.so.cache", _MAX_TEXT_BYTES) or b""
    cached = libraries_in(cache, machine)
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(names):
        if "/" in name:
            continue
        places = [join(directory, name) for directory in _default_directories(machine)]
        for path in (*((cached[name],) if name in cached else ()), *places):
            data = await looking.read(path, _MAX_LIBRARY_BYTES)
            elf = read_elf(data) if data is not None else None
            if elf is not None and elf.machine == machine:
                found[name] = elf.defines
                break
    return found


def _default_directories(machine: str) -> tuple[str, ...]:
    triplet = f"{machine}-linux-gnu"
    return (f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib64", "/usr/lib64", "/lib", "/usr/lib")


@dataclass(frozen=True, slots=True)
class _Found:
    """An interpreter: the path that it was found at, where it really lies, and the virtual environment that it is of, or ""."""

    path: str
    real: str
    version: str
    environment: str


def _pythons(looking: _Looking, wanted: Wanted, distribution: Distribution) -> Iterator[BasePython]:
    """Every Python that is found by its name, in the order of the image's PATH; each once."""
    names = [*((f"python{wanted.minor}",) if wanted.minor else ()), "python3", "python"]
    seen: set[tuple[str, bool]] = set()
    for name in names:
        for directory in dict.fromkeys((*wanted.path, "/usr/local/bin", "/usr/bin")):
            path = join(directory, name)
            real = looking.real(path)
            version = _version(looking, path, real) if real else None
            if real is None or version is None:
                continue
            environment = parent(parent(path))
            is_venv = looking.real(join(environment, "pyvenv.cfg")) is not None
            if (real, is_venv) in seen:
                continue
            seen.add((real, is_venv))
            yield _python(looking, _Found(path, real, version, environment if is_venv else ""), distribution)


def _version(looking: _Looking, path: str, real: str) -> str | None:
    """The version that stands in the name of the file, or of a link that leads to it."""
    links = [at for at, _ in follow(path, looking.look).links]
    for one in (real, *reversed(links), path):
        found = _PROGRAM.fullmatch(one.rpartition("/")[2])
        if found:
            return found[1]
    return None


def _python(looking: _Looking, found: _Found, distribution: Distribution) -> BasePython:
    prefix, name = parent(parent(found.real)), f"python{found.version}"
    places = (join(prefix, "lib", name), join(prefix, "lib64", name))
    stdlib = next((place for place in places if looking.real(join(place, "os.py"))), places[0])
    missing = [part for part in _WHOLE if looking.real(join(stdlib, part)) is None]
    managed = not found.environment and looking.real(join(stdlib, "EXTERNALLY-MANAGED")) is not None
    return BasePython(
        interpreter=found.path,
        version=found.version,
        site_packages=_site_packages(found.environment or prefix, found.version, distribution),
        managed=managed,
        lacks=f"{join(stdlib, missing[0])} is missing" if missing else "",
    )


def _site_packages(prefix: str, version: str, distribution: Distribution) -> str:
    """Where installs go. Distributions keep /usr for their own packages, and send the others to /usr/local."""
    if prefix != "/usr":
        return join(prefix, f"lib/python{version}/site-packages")
    kind = "dist-packages" if distribution.id in _DEBIANS else "site-packages"
    return f"/{PREFIX}/lib/python{version}/{kind}"


async def _distribution(looking: _Looking) -> Distribution:
    text = await looking.read("/etc/os-release", _MAX_TEXT_BYTES)
    text = text or await looking.read("/usr/lib/os-release", _MAX_TEXT_BYTES) or b""
    said: dict[str, str] = {}
    for line in text.decode("utf-8", "replace").splitlines():
        found = _LINE.fullmatch(line.strip())
        if found:
            said[found[1]] = (found[2] or found[3] or found[4] or "")[:200]
    apt = "/usr/bin/apt-get"
    return Distribution(
        id=said.get("ID", ""),
        version=said.get("VERSION_ID", ""),
        name=said.get("PRETTY_NAME", ""),
        installer=apt if looking.real(apt) else "",
    )


def _way(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]
