"""SQLite error: what the database said, as an error with a name and a remedy."""

from __future__ import annotations

import sqlite3

from squall.model.errors import DiskFull, Error, StateCorrupt, StateDirectoryError, StateDirectoryReadOnly


def sqlite_error(error: sqlite3.Error, path: str) -> Error:
    """The error to raise `from error`, about the database at `path`."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(f"there is no room left to record in {path}; nothing was recorded", path=path)
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}:
        return StateDirectoryReadOnly(f"{path} cannot be written: {error}", path=path)
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return StateCorrupt(f"{path} is damaged: {error}", path=path)
    return StateDirectoryError(f"{path} cannot be used: {error}", path=path)
