from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.debian.how import How
from squall.images.debian.nouns import MIRRORS, WantedDebian
from squall.images.debian.release import MAX_INDEX_BYTES, parse_release, signed_text
from squall.images.debian.signature import Verifier, find_verifier, why_not_signed
from squall.images.debian.unpack import unpack_debian
from squall.model.errors import MirrorNotTrusted
from tests.unit.images.debian.building import build
from tests.unit.images.debian.distribution import MADE_S, base, giving, mirror, release_of
from tests.unit.images.registry.hostile import QUICK, serving

DIGEST = "a" * 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Codename: bookworm",
        "Codename: bookworm\nDate: today\nSHA256:\n",
        f"Codename: bookworm\nDate: Wed, 25 Nov 2026 02:10:59 UTC\nSHA256:\n {DIGEST} x main/Packages\n",
        " begins in the middle",
        "Codename: bookworm\nCodename: trixie\n",
    ],
)
def test_a_text_that_is_no_release_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_release(text)


def test_the_smallest_index_that_is_there_is_read() -> None:
    plain, gz, xz = (f"main/binary-amd64/Packages{end}" for end in ("", ".gz", ".xz"))
    data = {plain: b"1" * 9, gz: b"12", xz: b"1"}
    index = parse_release(release_of(data, "bookworm").decode()).packages("amd64")
    assert index is not None
    assert (index.path, index.size, index.unpacked_bytes) == (xz, 1, 9)
    del data[xz]
    index = parse_release(release_of(data, "bookworm").decode()).packages("amd64")
    assert index is not None
    assert index.path == gz
    assert parse_release(release_of(data, "bookworm").decode()).packages("arm64") is None


def test_a_release_has_the_name_of_its_suite_too() -> None:
    assert parse_release(release_of({}, "bookworm").decode()).names == {"bookworm", "stable-of-bookworm"}


def test_an_index_that_is_far_too_large_is_not_there() -> None:
    path = "main/binary-amd64/Packages"
    text = release_of({path: b""}, "bookworm").decode()
    for size, there in ((MAX_INDEX_BYTES, True), (MAX_INDEX_BYTES + 1, False)):
        release = parse_release(text.replace(f" {0:>8} {path}", f" {size} {path}"))
        assert (release.packages("amd64") is not None) == there


@pytest.mark.parametrize("says", ["yes", "no"])
def test_an_index_is_asked_for_by_its_digest_where_the_mirror_keeps_it_so(says: str) -> None:
    built = build(mirror(base(), Acquire_By_Hash=says))
    assert built.unpacked is not None, built.failed
    (asked,) = (target for target in built.asked if "binary-amd64" in target)
    assert ("/by-hash/SHA256/" in asked) == (says == "yes")


def test_only_what_is_within_the_signed_part_is_read() -> None:
    begin, sign = "-----BEGIN PGP SIGNED MESSAGE-----", "-----BEGIN PGP SIGNATURE-----"
    signed = f"{begin}\nHash: SHA512\n\nCodename: a\n- -x\n{sign}\nabc\n"
    assert signed_text(signed) == "Codename: a\n-x"
    assert signed_text("Codename: a") == "Codename: a"
    for wrong in (f"Codename: b\n{signed}", f"{begin}\n\nCodename: a\n", f"{begin}\n\n{signed}"):
        with pytest.raises(ValueError, match="signed"):
            signed_text(wrong)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (b"[GNUPG:] GOODSIG AB x\n[GNUPG:] VALIDSIG ABCD 2026\n", None),
        (b"[GNUPG:] ERRSIG AB 1 8\n[GNUPG:] NO_PUBKEY AB\n[GNUPG:] VALIDSIG ABCD 2026\n", None),
        (b"[GNUPG:] ERRSIG AB 1 8\n[GNUPG:] NO_PUBKEY AB\n", "none of Debian's keys"),
        (b"[GNUPG:] VALIDSIG ABCD 2026\n[GNUPG:] BADSIG AB x\n", "BADSIG"),
        (b"[GNUPG:] REVKEYSIG AB x\n[GNUPG:] VALIDSIG ABCD 2026\n", "REVKEYSIG"),
        (b"[GNUPG:] NODATA 1\n", "not signed"),
        (b"", "not signed"),
    ],
)
def test_one_good_signature_will_do_and_a_bad_one_will_not(told: bytes, why: str | None) -> None:
    found = why_not_signed(told)
    assert found is None if why is None else found is not None and why in found


def test_where_there_are_no_keys_nothing_verifies(tmp_path: Path) -> None:
    assert find_verifier([tmp_path / "nothing.gpg"]) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"release": "../etc"},
        {"release": "Bookworm"},
        {"architecture": "riscv64"},
        {"mirrors": ()},
        {"mirrors": ("ftp://mirror.example.com/debian",)},
        {"mirrors": ("https://mirror.example.com/debian/",)},
        {"packages": ("UPPER",)},
        {"packages": ("a; rm -rf /",)},
    ],
)
def test_what_nobody_can_want_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        WantedDebian(**wrong)  # type: ignore[arg-type]  # that is the point


def test_the_mirrors_that_are_asked_unless_others_are_named_are_asked_by_https() -> None:
    assert WantedDebian().mirrors == MIRRORS
    assert all(address.startswith("https://") for address in MIRRORS)


class Signer:
    """A key of its own, and what it signs."""

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o700)
        self._home = home
        self._gpg(
            "--quick-generate-key", "--passphrase", "", "Archive <archive@example.com>", "rsa2048", "sign"
        )
        self.keyring = home / "keys.gpg"
        self.keyring.write_bytes(self._gpg("--export"))

    def sign(self, message: bytes) -> bytes:
        return self._gpg("--clearsign", "--digest-algo", "SHA512", given=message)

    def pack(self, message: bytes, *words: str) -> bytes:
        """Signed, and packed with its signature."""
        return self._gpg("--sign", "-z", "9", *words, given=message)

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", self._home, "--kill", "all"], check=False)

    def _gpg(self, *words: str, given: bytes = b"") -> bytes:
        done = subprocess.run(
            ["gpg", "--homedir", self._home, "--batch", "--quiet", "--pinentry-mode", "loopback", *words],
            input=given,
            capture_output=True,
            check=True,
            env={**os.environ, "GNUPGHOME": str(self._home)},
        )
        return done.stdout


@pytest.mark.needs("gpg")
def test_a_release_is_believed_by_its_signature(tmp_path: Path) -> None:
    ours, others = Signer(tmp_path / "a"), Signer(tmp_path / "b")
    try:
        assert _failure(mirror(base(), sign=ours.sign), ours.keyring) == ""
        assert "none of Debian's keys" in _failure(mirror(base(), sign=others.sign), ours.keyring)
        assert "not signed" in _failure(mirror(base()), ours.keyring)

        def changed(release: bytes) -> bytes:
            return ours.sign(release).replace(b"Components: main", b"Components: mein")

        assert "BADSIG" in _failure(mirror(base(), sign=changed), ours.keyring)

        def before(release: bytes) -> bytes:
            return b"Codename: bookworm\nArchitectures: all\n\n" + ours.sign(release)

        # A little of what is packed would fill the disk, before it is known who has signed it.
        for words in ((), ("--armor",)):

            def packed(release: bytes, words: tuple[str, ...] = words) -> bytes:
                return ours.pack(release, *words)

            assert "not signed as clear text" in _failure(mirror(base(), sign=packed), ours.keyring)
        # What stands before the signed part says nothing: the release is as it was signed.
        assert _failure(mirror(base(), sign=before), ours.keyring) == ""
    finally:
        ours.close()
        others.close()


def _failure(files: dict[str, bytes], keyring: Path) -> str:
    """Why a root is refused; nothing where it is made."""

    async def made() -> str:
        verifier = find_verifier([keyring])
        assert isinstance(verifier, Verifier)
        async with serving(giving(files)) as server:
            wanted = WantedDebian(mirrors=(f"http://{server.address}/debian",))
            how = How(verifier=verifier, environ={}, patience=QUICK, clock=lambda: MADE_S)
            try:
                await unpack_debian(wanted, MemoryBlobs(), lambda _: None, how)
            except MirrorNotTrusted as error:
                return str(error)
            return ""

    return asyncio.run(made())
