"""Standalone: the builds of CPython that run on any system with a C library, as they are published. Pure."""

from __future__ import annotations

from typing import Final

from squall.blobs.digest import Digest
from squall.images.python.nouns import Archive, Base, Declined, Wanted, minor_of

RELEASES: Final = "https://github.com/astral-sh/python-build-standalone/releases/download"
"""Where releases lie, each in a folder of its own with its archives."""

MAX_ARCHIVE_BYTES: Final = 512 << 20

WHAT: Final = "a standalone build"

# The one place where builds are pinned. The digests are those that the wheel of uv 0.13.9 has for the same files.
_RELEASE: Final = "20261110"
_VERSIONS: Final = {"3.11": "3.11.18", "3.12": "3.12.16", "3.13": "3.13.18"}
_DIGESTS: Final = {
    ("3.11", "aarch64", "gnu"): "7e71f26a003949b57757e287f4f4b6689da07e7a229f5bbee7919c19ed77155d",
    ("3.11", "aarch64", "musl"): "d07fe01cf2aebf153022d8aa892bd3bc9cefffe5e45a0047772165ece4f63f2e",
    ("3.11", "x86_64", "gnu"): "3288c54cea3db350052019b3f8b558dd8a3da8afa6fda573f5fd2bcb37635b4a",
    ("3.11", "x86_64", "musl"): "f77d4123fc77976cc54a77bdf06f5ee764177021b5a3719c590ce7bb4b9eee0f",
    ("3.12", "aarch64", "gnu"): "b6a41defec4975d94b4ff1950236e7383e5c02ba40ea48c9ec33c66087a35aab",
    ("3.12", "aarch64", "musl"): "64bb304e59d5d6ed5eaae24e95e743a2420a8897d2f6c854b1438ff9cb47e432",
    ("3.12", "x86_64", "gnu"): "6a9e62dad033790aef722dbd370e0ce76ce17b73627ba3ae679f537049350b39",
    ("3.12", "x86_64", "musl"): "e32685cf248d2f33b249816120774143b4b57578cb30de5b8dba3e54963765c3",
    ("3.13", "aarch64", "gnu"): "55c00325f7c1fddf325dfc621aabdfbbac4dc54adda224af88ec411dc12db239",
    ("3.13", "aarch64", "musl"): "5616ed1d426cb12cc135e5998b42bfd665cf2f9e3f3f9f6c77c73f0ae26f7d03",
    ("3.13", "x86_64", "gnu"): "f2d2199eb25880e07863b391cf7124e7ffa1338b0d65600dfcec117c4223a7fb",
    ("3.13", "x86_64", "musl"): "a75bf409606303deed964d4769544f98b74e7b53d4efb44f4a95cb38e86ff403",
}
_OLDEST_GLIBC: Final = (2, 17)


def standalone_for(wanted: Wanted, base: Base) -> Archive | Declined:
    """The build that fits `base`, or why none does."""
    version = _VERSIONS.get(wanted.minor or "")
    if version is None:
        return Declined(WHAT, f"this version of Squall knows one of Python {', '.join(_VERSIONS)} only")
    if base.libc is None:
        return Declined(WHAT, "the image has no C library that it could load")
    if base.libc.kind == "glibc" and base.libc.version < _OLDEST_GLIBC:
        return Declined(WHAT, "the image's C library is older than any that it runs on")
    system = "gnu" if base.libc.kind == "glibc" else "musl"
    digest = _DIGESTS.get((minor_of(version), wanted.machine, system))
    if digest is None:
        return Declined(WHAT, f"this version of Squall knows none for {wanted.machine}")
    name = (
        f"cpython-{version}+{_RELEASE}-{wanted.machine}-unknown-linux-{system}-install_only_stripped.tar.gz"
    )
    return Archive(version=version, release=_RELEASE, name=name, digest=Digest(digest))
