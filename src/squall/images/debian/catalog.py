"""Catalog: the packages of several indexes, held in few bytes. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Final

from squall.blobs.digest import Bytes, parse_digest
from squall.images.debian.nouns import Package
from squall.images.debian.relation import is_package_name
from squall.images.debian.stanza import StanzaReader
from squall.images.debian.version import version_key

_MAX_PACKAGES: Final = 1_000_000
_MAX_HELD_BYTES: Final = 512 << 20
_MAX_PACKAGE_BYTES: Final = 8 << 30
_NEAR: Final = 3

_FIELD: Final = re.compile(
    rb"^(Package|Version|Architecture|Filename|Size|SHA256|Essential|Priority|Pre-Depends|Depends|Provides|"
    rb"Conflicts|Breaks):[ \t]*(.*(?:\n[ \t].*)*)",
    re.MULTILINE,
)
_WANTED: Final = frozenset({"Package", "Version", "Filename", "Size", "SHA256"})
_PROVIDED: Final = re.compile(rb"[a-z0-9][a-z0-9+.-]+(?=[\s,(:]|\Z)")


class Catalog:
    """The newest version of each package of all indexes that were read. Raises ValueError for an index that is none.

    Of a package some 600 bytes are held: 40 MB for all that Debian has.
    """

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, str, bytes]] = {}
        self._providers: dict[str, set[str]] = {}
        self._essential: set[str] = set()
        self._bytes = 0

    def reading(self, at: str) -> IndexReader:
        """What reads one more index, of the mirror of this address."""
        return IndexReader(self, at)

    def add(self, at: str, stanza: bytes) -> None:
        """One entry of an index; an older version than what is here is passed over."""
        fields: dict[bytes, bytes] = dict(_FIELD.findall(stanza))
        name = fields.get(b"Package", b"").decode("ascii", "replace")
        version = fields.get(b"Version", b"").decode("ascii", "replace")
        if not is_package_name(name):
            raise ValueError(f"{name[:80]!r} is no name of a package")
        key = version_key(version)
        known = self._held.get(name)
        if known is not None and version_key(known[0]) >= key:
            return
        if len(self._held) >= _MAX_PACKAGES:
            raise ValueError(f"there are more than {_MAX_PACKAGES} packages")
        kept = b"\n".join(b"%s: %s" % field for field in fields.items())
        self._bytes += len(kept)
        if self._bytes > _MAX_HELD_BYTES:
            raise ValueError(f"the packages take more than {_MAX_HELD_BYTES} bytes of memory")
        self._held[name] = version, at, kept
        (self._essential.add if fields.get(b"Essential") == b"yes" else self._essential.discard)(name)
        for provided in _PROVIDED.findall(re.sub(rb"\([^)]*\)", b"", fields.get(b"Provides", b""))):
            self._providers.setdefault(provided.decode(), set()).add(name)

    def find(self, name: str) -> Package | None:
        """The package of this name. Raises ValueError where its entry cannot be used."""
        held = self._held.get(name)
        return None if held is None else _package(*held[1:])

    def providing(self, name: str) -> Iterator[Package]:
        """Packages of other names that stand for this one too, sorted by name."""
        for provider in sorted(self._providers.get(name, ())):
            found = self.find(provider)
            if found is not None and name in found.gives:
                yield found

    def essential(self) -> tuple[str, ...]:
        """The names of packages that every root has, sorted."""
        return tuple(sorted(self._essential))

    def near(self, name: str) -> list[str]:
        """Names that are like this one, the most alike first."""
        alike = (known for known in self._held if known[:1] == name[:1] and abs(len(known) - len(name)) <= 4)
        return difflib.get_close_matches(name, alike, n=_NEAR, cutoff=0.75)

    def __len__(self) -> int:
        return len(self._held)


class IndexReader:
    """Reads one index into a catalog, from its bytes as they come. Raises ValueError."""

    def __init__(self, catalog: Catalog, at: str) -> None:
        self._catalog = catalog
        self._at = at
        self._stanzas = StanzaReader()

    def feed(self, data: Bytes) -> None:
        self._take(self._stanzas.feed(data))

    def end(self) -> None:
        """Nothing more comes."""
        self._take(self._stanzas.end())

    def _take(self, stanzas: Iterable[bytes]) -> None:
        for stanza in stanzas:
            self._catalog.add(self._at, stanza)


def _package(at: str, kept: bytes) -> Package:
    fields = {key.decode(): value.decode("utf-8", "replace") for key, value in _FIELD.findall(kept)}
    name, size, filename = fields.get("Package", ""), fields.get("Size", ""), fields.get("Filename", "")
    if missing := _WANTED - fields.keys():
        raise ValueError(f"the entry of {name} lacks {', '.join(sorted(missing))}")
    if not (size.isascii() and size.isdigit() and len(size) < 12 and int(size) <= _MAX_PACKAGE_BYTES):
        raise ValueError(f"the entry of {name} has the size {size[:20]!r}")
    if filename.startswith("/") or ".." in filename.split("/") or not re.fullmatch(r"[!->@-~]+", filename):
        raise ValueError(f"the entry of {name} has the file name {filename[:120]!r}")
    depends = ", ".join(fields[key] for key in ("Pre-Depends", "Depends") if fields.get(key))
    conflicts = ", ".join(fields[key] for key in ("Conflicts", "Breaks") if fields.get(key))
    return Package(
        name=name,
        version=fields["Version"],
        architecture=fields.get("Architecture", ""),
        at=at,
        filename=filename,
        size=int(size),
        digest=parse_digest(fields["SHA256"]),
        essential=fields.get("Essential") == "yes",
        priority=fields.get("Priority", "optional"),
        depends=depends,
        provides=fields.get("Provides", ""),
        conflicts=conflicts,
    )
