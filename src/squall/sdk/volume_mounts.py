"""Volume mounts: the volumes that are mounted in this container, and what commits and reloads them."""

from __future__ import annotations

from typing import Protocol


class Mounted(Protocol):
    """A volume where it is mounted."""

    async def commit(self) -> None:
        """Makes what was written here a version of the volume."""
        ...

    async def reload(self) -> None:
        """Shows the newest version here."""
        ...


def mounted(volume: str) -> Mounted | None:  # noqa: ARG001 - no container has any yet
    """The volume of this id, if it is mounted in this container."""
    return None
