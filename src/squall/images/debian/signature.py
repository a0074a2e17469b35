"""Signature: whether the distribution itself has signed what a mirror says."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from squall.runtime.asked import Ask, TooMuchSaidError, ask

_KEYRINGS: Final = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)
_MORE_KEYRINGS: Final = Path("/etc/apt/trusted.gpg.d"), "debian-archive-*.gpg"
_LONGEST_S: Final = 60.0
_STATUS: Final = b"[GNUPG:] "
_GOOD: Final = b"VALIDSIG"
_BAD: Final = frozenset({b"BADSIG", b"ERRSIG", b"EXPSIG", b"EXPKEYSIG", b"REVKEYSIG"})
_UNKNOWN_KEY: Final = b"NO_PUBKEY"
# What is signed in other ways than as clear text may be packed, and is unpacked before its signature is looked at.
_NO_CLEAR_TEXT: Final = re.compile(rb"\A[\x80-\xff]|-----BEGIN PGP (?!(?:SIGNED MESSAGE|SIGNATURE)-----)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """A program that verifies signatures, and the keys that it trusts."""

    gpgv: str
    keyrings: tuple[Path, ...]

    async def signed(self, message: bytes) -> str:
        """What a signed message says, once a key has signed it. Raises ValueError."""
        if _NO_CLEAR_TEXT.search(message):
            raise ValueError("it is not signed as clear text")
        with tempfile.TemporaryDirectory(prefix="squall-release-") as made:
            room = Path(made)
            (room / "message").write_bytes(message)
            rings = [word for ring in self.keyrings for word in ("--keyring", str(ring))]
            argv = (
                *(self.gpgv, "--status-fd", "1", "--homedir", made, *rings),
                *("--output", str(room / "said"), str(room / "message")),
            )
            try:
                told = (await ask(argv, Ask(within_s=_LONGEST_S))).said
            except TimeoutError:
                raise ValueError(f"its signature was not verified within {_LONGEST_S:g} s") from None
            except TooMuchSaidError:
                raise ValueError("gpgv says more of its signature than anybody can read") from None
            why = why_not_signed(told)
            if why is not None:
                raise ValueError(why)
            return (room / "said").read_bytes().decode("utf-8", "replace")


def find_verifier(keyrings: Iterable[Path] | None = None) -> Verifier | None:
    """What verifies Debian's signatures on this machine; None where there is no gpgv, or none of Debian's keys.

    keyrings: in place of those that the machine has.
    """
    gpgv = shutil.which("gpgv")
    folder, pattern = _MORE_KEYRINGS
    known = (*map(Path, _KEYRINGS), *sorted(folder.glob(pattern))) if keyrings is None else tuple(keyrings)
    there = tuple(ring for ring in known if ring.is_file())
    return Verifier(gpgv=gpgv, keyrings=there) if gpgv is not None and there else None


def why_not_signed(told: bytes) -> str | None:
    """Why a message is not signed as it must be, by what gpgv told of it; None where it is.

    One good signature will do: a release is signed with the keys of several years, of which a machine may not know all. One
    that is bad will not.
    """
    words = [line.removeprefix(_STATUS).split() for line in told.splitlines() if line.startswith(_STATUS)]
    said = [line[0] for line in words if line]
    # A signature by a key that is not known is told as an error too, of a kind of its own.
    unknown = {line[1] for line in words if line[:1] == [_UNKNOWN_KEY] and len(line) > 1}
    bad = [
        line
        for line in words
        if line and line[0] in _BAD and not (line[0] == b"ERRSIG" and len(line) > 1 and line[1] in unknown)
    ]
    if bad:
        return f"a signature on it is not good ({bad[0][0].decode('ascii', 'replace')})"
    if _GOOD not in said:
        return "none of Debian's keys that this machine has signed it" if unknown else "it is not signed"
    return None
