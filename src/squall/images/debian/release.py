"""Release: what a mirror says of one of its suites, and by which digests its indexes are known. Pure."""

from __future__ import annotations

import email.utils
import re
from dataclasses import dataclass
from typing import Final

from squall.blobs.digest import Digest, is_digest
from squall.images.debian.stanza import parse_stanza

MAX_RELEASE_BYTES: Final = 4 << 20
MAX_INDEX_BYTES: Final = 512 << 20

_BEGIN: Final = "-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE: Final = "-----BEGIN PGP SIGNATURE-----"
_PACKINGS: Final = (".xz", ".gz", "")  # the smallest first
_LINE: Final = re.compile(r" *([0-9a-f]{64}) +([0-9]{1,12}) +(\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """An index as a release lists it. path: below the suite's folder. size: its bytes; unpacked_bytes: None where untold."""

    path: str
    digest: Digest
    size: int
    unpacked_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One suite of a mirror. made_s, until_s: seconds since 1970; None: it never expires."""

    names: frozenset[str]
    architectures: tuple[str, ...]
    made_s: int
    until_s: int | None
    by_digest: bool
    files: dict[str, tuple[Digest, int]]

    def packages(self, architecture: str) -> IndexFile | None:
        """The index of the packages for this architecture, in its smallest form that can be read here."""
        plain = f"main/binary-{architecture}/Packages"
        for packing in _PACKINGS:
            if found := self.files.get(plain + packing):
                digest, size = found
                unpacked = self.files.get(plain)
                return IndexFile(
                    path=plain + packing,
                    digest=digest,
                    size=size,
                    unpacked_bytes=unpacked[1] if unpacked is not None else None,
                )
        return None


def signed_text(text: str) -> str:
    """What a message that is signed in its own text says, without a look at the signature. Raises ValueError.

    For where the way it came is what is trusted; where the signature is, its verifier gives the text.
    """
    head, begin, rest = text.partition(_BEGIN)
    if not begin:
        return text
    body, signature, _ = rest.partition("\n" + _SIGNATURE)
    _, empty, said = body.partition("\n\n")
    if head.strip() or not signature or not empty or _BEGIN in said:
        raise ValueError("it is not signed as one message")
    return "\n".join(line.removeprefix("- ") for line in said.split("\n"))


def parse_release(text: str) -> Release:
    """The release that this text says. Raises ValueError, which says what is wrong."""
    fields = parse_stanza(text.strip("\n"))
    names = frozenset(fields[key] for key in ("Codename", "Suite") if fields.get(key))
    if not names or "Date" not in fields or "SHA256" not in fields:
        raise ValueError("it lacks its name, its date or its digests")
    files: dict[str, tuple[Digest, int]] = {}
    for line in fields["SHA256"].split("\n"):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line)
        if found is None or not is_digest(found[1]):
            raise ValueError(f"{line[:120]!r} is no digest of a file")
        if int(found[2]) <= MAX_INDEX_BYTES:
            files[found[3]] = Digest(found[1]), int(found[2])
    until = fields.get("Valid-Until")
    return Release(
        names=names,
        architectures=tuple(fields.get("Architectures", "").split()),
        made_s=_seconds(fields["Date"]),
        until_s=None if until is None else _seconds(until),
        by_digest=fields.get("Acquire-By-Hash", "").lower() == "yes",
        files=files,
    )


def _seconds(date: str) -> int:
    try:
        # "UTC" is what Debian writes, and what that reader takes for no zone: then it is one too.
        return int(email.utils.parsedate_to_datetime(date.replace("UTC", "+0000")).timestamp())
    except (ValueError, OverflowError, TypeError):
        raise ValueError(f"{date[:60]!r} is no date") from None
