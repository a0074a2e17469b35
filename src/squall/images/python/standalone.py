"""Standalone: the builds of CPython that run on any system with a C library, as they are published. Pure."""

from __future__ import annotations

from typing import Final

from squall.blobs.digest import Digest, is_digest
from squall.images.python.nouns import Archive, Base, Declined, Wanted

RELEASES: Final = "https://github.com/astral-sh/python-build-standalone/releases/download"
"""Where releases lie, each in a folder of its own with its archives and the list of their digests."""

SUMS: Final = "SHA256SUMS"
"""The file of a release that lists its archives: digest, two spaces, name."""

MAX_SUMS_BYTES: Final = 4 << 20
MAX_ARCHIVE_BYTES: Final = 512 << 20

WHAT: Final = "a standalone build"

# The one place where versions are pinned. A digest stands here where several publications that do not know each other agree on
# it; of the others the release itself says theirs, over TLS.
_RELEASE: Final = "20260414"
_VERSIONS: Final = {"3.11": "3.11.15", "3.12": "3.12.13", "3.13": "3.13.13"}
_DIGESTS: Final = {
    "cpython-3.11.15+20260414-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz": Digest(
        "b702a19b26cbd007abf9ccbaa45dfdff99e9dbd646d89c9f3c9bb7b501aea44f"
    ),
}
_MACHINES: Final = frozenset({"x86_64", "aarch64"})
_OLDEST_GLIBC: Final = (2, 17)


def standalone_for(wanted: Wanted, base: Base) -> Archive | Declined:
    """The build that fits `base`, or why none does."""
    version = _VERSIONS.get(wanted.minor or "")
    if version is None:
        return Declined(WHAT, f"this version of Squall knows one of Python {', '.join(_VERSIONS)} only")
    if wanted.machine not in _MACHINES:
        return Declined(WHAT, f"this version of Squall knows none for {wanted.machine}")
    if base.libc is None:
        return Declined(WHAT, "the image has no C library that it could load")
    if base.libc.kind == "glibc" and base.libc.version < _OLDEST_GLIBC:
        return Declined(WHAT, "the image's C library is older than any that it runs on")
    system = "unknown-linux-gnu" if base.libc.kind == "glibc" else "unknown-linux-musl"
    name = f"cpython-{version}+{_RELEASE}-{wanted.machine}-{system}-install_only_stripped.tar.gz"
    return Archive(version=version, release=_RELEASE, name=name, digest=_DIGESTS.get(name))


def digest_in(sums: bytes, name: str) -> Digest | None:
    """What the list of a release says of the archive `name`; None where it says nothing, or nothing that is a digest."""
    for line in sums.decode("ascii", "replace").splitlines():
        digest, _, of = line.partition(" ")
        if of.strip().removeprefix("*") == name:
            return Digest(digest) if is_digest(digest) else None
    return None
