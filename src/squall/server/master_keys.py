"""Master keys: the file that has them, which is no part of the record. The first seals, the others open what was sealed before."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from squall.model.errors import MasterKeyUnusable
from squall.settings.whole_file import write_whole

KEY_BYTES: Final = 32
_MOST_BYTES: Final = 64 * 1024
_NOTE: Final = "# Squall's master key: without it nobody reads the secrets of this server. Keep a copy apart from backups of the record.\n"


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A key. id: what tells it from others, and nothing of it."""

    id: str
    key: bytes = field(repr=False)


def master_key(key: bytes) -> MasterKey:
    """A key with its id: of 256 random bits a digest gives nothing away."""
    return MasterKey(hashlib.sha256(b"squall master key\0" + key).hexdigest()[:16], key)


class MasterKeys:
    """The keys of one file, read when they are first needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._keys: tuple[MasterKey, ...] = ()

    def first(self, *, may_make: bool) -> MasterKey:
        """The key that seals; made where there is no file and one may be. Raises MasterKeyUnusable."""
        if not self._keys:
            try:
                self._keys = self._read()
            except FileNotFoundError:
                if not may_make:
                    raise MasterKeyUnusable(
                        f"there is no master key in {self.path}, and there are secrets that were sealed with one",
                        path=str(self.path),
                    ) from None
                self._write((master_key(os.urandom(KEY_BYTES)),))
        return self._keys[0]

    def find(self, key: str) -> MasterKey:
        """The key of this id. Raises MasterKeyUnusable."""
        self.first(may_make=False)
        for one in self._keys:
            if one.id == key:
                return one
        raise MasterKeyUnusable(
            f"{self.path} has no master key {key}, with which a secret was sealed; it has: "
            f"{', '.join(one.id for one in self._keys)}",
            path=str(self.path),
        )

    @property
    def changing(self) -> bool:
        """Whether there is an earlier key beside the one that seals."""
        return len(self._keys) > 1

    def add(self) -> None:
        """Has a new key seal from now on, on disk; earlier ones still open. Raises MasterKeyUnusable."""
        self.first(may_make=False)
        self._write((master_key(os.urandom(KEY_BYTES)), *self._keys))

    def keep_first(self) -> None:
        """Forgets the earlier keys. Raises MasterKeyUnusable."""
        self._write(self._keys[:1])

    def _read(self) -> tuple[MasterKey, ...]:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            with open(fd, "rb") as file:
                mode = os.fstat(fd).st_mode
                text = file.read(_MOST_BYTES)
        except FileNotFoundError:
            raise
        except OSError as problem:
            raise self._unusable(f"cannot be read: {problem.strerror}") from problem
        if stat.S_IMODE(mode) & 0o077:
            raise self._unusable(
                f"may be read by others (mode {stat.S_IMODE(mode):04o})", f"`chmod 600 {self.path}`"
            )
        lines = [line.strip() for line in text.splitlines()]
        keys = [self._key(line) for line in lines if line and not line.startswith(b"#")]
        if not keys:
            raise self._unusable("has no key in it")
        return tuple({one.id: one for one in keys}.values())

    def _key(self, line: bytes) -> MasterKey:
        try:
            found = base64.b64decode(line.translate(bytes.maketrans(b"-_", b"+/")), validate=True)
        except (binascii.Error, ValueError):
            found = b""
        if len(found) != KEY_BYTES:
            raise self._unusable(
                f"has a line that is no key: {KEY_BYTES} bytes in base64",
                "make one with `openssl rand -base64 32`",
            )
        return master_key(found)

    def _write(self, keys: tuple[MasterKey, ...]) -> None:
        text = _NOTE + "".join(f"{base64.b64encode(one.key).decode()}\n" for one in keys)
        try:
            write_whole(self.path, text.encode())
        except OSError as problem:
            raise self._unusable(
                f"cannot be written: {problem.strerror}",
                "let this user write there; or put a new key into the first line yourself, and ask again",
            ) from problem
        self._keys = keys

    def _unusable(self, why: str, remedy: str | None = None) -> MasterKeyUnusable:
        return MasterKeyUnusable(
            f"the file of the master key, {self.path}, {why}", remedy=remedy, path=str(self.path)
        )
