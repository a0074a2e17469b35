"""Kept: the images that were built on this machine, each by its key, whole or not there."""

from __future__ import annotations

import json
import os
import re
import secrets
from pathlib import Path
from typing import Final

from squall import faults
from squall.blobs.blob_file import force
from squall.images.rooted.nouns import Built

_KEY: Final = re.compile(r"[0-9a-f]{64}")
_COMING: Final = ".coming-"

_WRITTEN = faults.declare("image.written", "the record of an image is forced to disk, without its name")
_NAMED = faults.declare("image.named", "the record has its name, which is not forced to disk")


class Kept:
    """Records below one directory, one for each image that was built here; a record is there once all that it names is.

    They are what keeps the layers of an image from being swept; the time stamp of a record is its last use.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, key: str) -> Built | None:
        """The image of this key, which counts as used now; None where it is not here, or its record cannot be read."""
        path = self._path(key)
        try:
            built = Built.from_json(json.loads(path.read_bytes()))
            os.utime(path)
        except (FileNotFoundError, ValueError):
            return None
        return built if built.key == key else None

    def all(self) -> tuple[tuple[Built, float], ...]:
        """Every image with the instant of its last use, in seconds since 1970; what cannot be read is left out."""
        found: list[tuple[Built, float]] = []
        for name in self._names():
            path = self._path(name)
            try:
                built = Built.from_json(json.loads(path.read_bytes()))
                found.append((built, path.stat().st_mtime))
            except (FileNotFoundError, ValueError):
                continue
        return tuple(found)

    def keep(self, built: Built) -> None:
        """Have the image found by its key from now on, also after a power cut. Whoever calls has its layers kept already."""
        path = self._path(built.key)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        coming = self._directory / f"{_COMING}{secrets.token_hex(8)}"
        try:
            with coming.open("xb") as file:
                file.write(json.dumps(built.to_json(), sort_keys=True).encode())
                file.flush()
                os.fsync(file.fileno())
            faults.point(_WRITTEN)
            os.rename(coming, path)
            faults.point(_NAMED)
        finally:
            coming.unlink(missing_ok=True)
        force(self._directory)

    def drop(self, key: str) -> bool:
        """Forget an image; whether it was here. What only it named goes with the next sweep."""
        try:
            self._path(key).unlink()
        except FileNotFoundError:
            return False
        return True

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._directory) if _KEY.fullmatch(name))
        except FileNotFoundError:
            return []

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"no image has the key {key!r}")
        return self._directory / key
