"""Row volumes: volumes in a database, whichever it is; the part of `RowState` that is theirs."""

from __future__ import annotations

from functools import partial
from typing import Final

from squall.model.ids import CommitId, VolumeId
from squall.state.group_commit import GroupCommit
from squall.state.readers import Readers
from squall.state.volumes import volume_rows
from squall.state.volumes.records import Keeping, PutVersion, VolumeLabel, VolumeRecord, VolumeVersion

_PRUNED_AT_ONCE: Final = 200


class RowVolumes:
    """A VolumeStore over a writer and readers, which its heir makes."""

    _writer: GroupCommit
    _readers: Readers

    async def open_volume(
        self, wanted: VolumeRecord, first: VolumeVersion, *, most: int
    ) -> VolumeRecord | None:
        return await self._writer.send(lambda db: volume_rows.put_volume(db, wanted, first, most))

    async def volume(self, environment: str, name: str) -> VolumeRecord | None:
        return await self._readers.read(lambda db: volume_rows.get_volume(db, environment, name))

    async def volume_of(self, of: VolumeId) -> VolumeRecord | None:
        return await self._readers.read(lambda db: volume_rows.get_by_id(db, of))

    async def volumes(self) -> tuple[tuple[VolumeRecord, VolumeVersion], ...]:
        return await self._readers.read(volume_rows.list_volumes)

    async def rename_volume(self, of: VolumeId, name: str) -> bool:
        return await self._writer.send(lambda db: volume_rows.set_name(db, of, name))

    async def drop_volume(self, of: VolumeId) -> bool:
        return await self._writer.send(lambda db: volume_rows.drop_volume(db, of))

    async def volume_head(self, of: VolumeId) -> VolumeVersion | None:
        return await self._readers.read(lambda db: volume_rows.get_head(db, of))

    async def volume_version(self, of: VolumeId, number: int) -> VolumeVersion | None:
        return await self._readers.read(lambda db: volume_rows.get_version(db, of, number))

    async def volume_label(self, of: VolumeId, label: str) -> VolumeVersion | None:
        return await self._readers.read(lambda db: volume_rows.get_labelled(db, of, label))

    async def volume_commit(self, of: VolumeId, commit: CommitId) -> VolumeVersion | None:
        return await self._readers.read(lambda db: volume_rows.get_commit(db, of, commit))

    async def volume_history(
        self, of: VolumeId, *, most: int, before: int | None = None
    ) -> tuple[VolumeVersion, ...]:
        return await self._readers.read(lambda db: volume_rows.list_versions(db, of, most, before))

    async def put_version(self, version: VolumeVersion) -> PutVersion:
        return await self._writer.send(lambda db: volume_rows.put_version(db, version))

    async def put_label(self, wanted: VolumeLabel, *, most: int) -> bool:
        return await self._writer.send(lambda db: volume_rows.put_label(db, wanted, most))

    async def drop_label(self, of: VolumeId, label: str) -> bool:
        return await self._writer.send(lambda db: volume_rows.drop_label(db, of, label))

    async def prune_versions(self, keeping: Keeping) -> int:
        going = await self._readers.read(lambda db: volume_rows.list_going(db, keeping))
        pruned = 0
        for at in range(0, len(going), _PRUNED_AT_ONCE):
            batch = going[at : at + _PRUNED_AT_ONCE]
            pruned += await self._writer.send(partial(volume_rows.drop_versions, going=batch))
        return pruned

    async def volume_manifests(self) -> frozenset[str]:
        return await self._readers.read(volume_rows.list_manifests)
