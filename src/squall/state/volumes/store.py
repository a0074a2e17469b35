"""Volume store: the record of volumes and their versions, which is a part of every state store."""

from __future__ import annotations

from typing import Protocol

from squall.model.ids import CommitId, VolumeId
from squall.state.volumes.records import Keeping, PutVersion, VolumeLabel, VolumeRecord, VolumeVersion


class VolumeStore(Protocol):
    """See `squall.state.state_store.StateStore`, whose promises hold here too. The head of a volume is its newest version."""

    async def open_volume(
        self, wanted: VolumeRecord, first: VolumeVersion, *, most: int
    ) -> VolumeRecord | None:
        """The volume of this environment and name, or of this id; made as `wanted` is, at its first version, where there is none.

        None where it is not there and `most` volumes are.
        """
        ...

    async def volume(self, environment: str, name: str) -> VolumeRecord | None:
        """The volume of this name."""
        ...

    async def volume_of(self, of: VolumeId) -> VolumeRecord | None:
        """The volume of this id."""
        ...

    async def volumes(self) -> tuple[tuple[VolumeRecord, VolumeVersion], ...]:
        """Every volume with its head, those with a name first, by environment and name."""
        ...

    async def rename_volume(self, of: VolumeId, name: str) -> bool:
        """Gives a volume another name in its environment; False where that is taken, or it is not there."""
        ...

    async def drop_volume(self, of: VolumeId) -> bool:
        """Removes a volume with all its versions; whether it was there."""
        ...

    async def volume_head(self, of: VolumeId) -> VolumeVersion | None:
        """The newest version."""
        ...

    async def volume_version(self, of: VolumeId, number: int) -> VolumeVersion | None:
        """The version of this number, if it is kept."""
        ...

    async def volume_label(self, of: VolumeId, label: str) -> VolumeVersion | None:
        """The version that has this name."""
        ...

    async def volume_commit(self, of: VolumeId, commit: CommitId) -> VolumeVersion | None:
        """The version that a commit has made."""
        ...

    async def volume_history(
        self, of: VolumeId, *, most: int, before: int | None = None
    ) -> tuple[VolumeVersion, ...]:
        """Versions that are kept, the newest first; before: of lower numbers than this one."""
        ...

    async def put_version(self, version: VolumeVersion) -> PutVersion:
        """Records the next version of a volume, if its parent is the head; it gets the number after that.

        One whose commit is on record is answered as it was, whatever the head is now.
        """
        ...

    async def put_label(self, wanted: VolumeLabel, *, most: int) -> bool:
        """Gives a version a name, which no other one of the volume has; whether it has it now.

        False where there is no such version, another one has the name, or `most` have one.
        """
        ...

    async def drop_label(self, of: VolumeId, label: str) -> bool:
        """Takes a name away; whether some version had it."""
        ...

    async def prune_versions(self, keeping: Keeping) -> int:
        """Forgets versions of all volumes that do not stay; how many. Never a head, nor one that has a name."""
        ...

    async def volume_manifests(self) -> frozenset[str]:
        """The manifests of all versions on record."""
        ...
