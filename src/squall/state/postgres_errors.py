"""Postgres error: what a database server said, as an error with a name and a remedy."""

from __future__ import annotations

from typing import Final

from squall.model.errors import DatabaseAway, DatabaseFailed, DatabaseRefused, DiskFull, Error, StateCorrupt

# A connection that is gone, a server that starts, ends or has no room for another connection, and one that only
# reads, as a standby does before it takes over.
_LOST: Final = frozenset({"57P01", "57P02", "57P03", "53300", "25P03", "25006"})
_REFUSED: Final = frozenset({"3D000", "3F000", "42501"})
_CORRUPT: Final = frozenset({"XX001", "XX002"})


class ConnectionGone(Exception):  # noqa: N818 - what is so, and no more an error than a lost race
    """A connection is gone, or none could be made, for a reason that may pass; its text says why."""


def is_lost(state: str) -> bool:
    """Whether this SQLSTATE says that another connection may do better."""
    return state in _LOST or state.startswith("08")


def postgres_error(state: str, said: str, where: str) -> Error:
    """The error to raise for a SQLSTATE and the words with it, about the database at `where`."""
    said = " ".join(said.split())
    if state == "53100":
        return DiskFull(f"there is no room left to record in {where}; nothing was recorded", path=where)
    if state in _CORRUPT:
        return StateCorrupt(
            f"{where} is damaged: {said}",
            remedy="look at the database server's disk and log, and restore its backup",
            path=where,
        )
    if state in _REFUSED or state.startswith("28"):
        return DatabaseRefused(f"{where} refuses this server: {said}", database=where)
    return DatabaseFailed(f"{where} could not do what was asked: {said} (SQLSTATE {state})", database=where)


def away(reason: str, where: str) -> DatabaseAway:
    """The error to raise once patience with a database is at its end."""
    return DatabaseAway(f"{where} does not answer: {reason}", database=where)
