"""Memory volumes: volumes in dicts; the part of `MemoryState` that is theirs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from squall.model.ids import CommitId, VolumeId
from squall.state.volumes.records import Keeping, Put, PutVersion, VolumeLabel, VolumeRecord, VolumeVersion


class MemoryVolumes:
    """A VolumeStore in dicts."""

    def __init__(self) -> None:
        super().__init__()
        self._volumes: dict[VolumeId, VolumeRecord] = {}
        self._volume_versions: dict[VolumeId, dict[int, VolumeVersion]] = {}
        self._volume_labels: dict[VolumeId, dict[str, int]] = {}

    async def open_volume(
        self, wanted: VolumeRecord, first: VolumeVersion, *, most: int
    ) -> VolumeRecord | None:
        self._open()
        known = self._volumes.get(wanted.id) or self._volume_named(wanted.environment, wanted.name)
        if known is not None:
            return known
        if len(self._volumes) >= most:
            return None
        self._volumes[wanted.id] = wanted
        self._volume_versions[wanted.id] = {first.number: first}
        self._volume_labels[wanted.id] = {}
        return wanted

    async def volume(self, environment: str, name: str) -> VolumeRecord | None:
        self._open()
        return self._volume_named(environment, name)

    async def volume_of(self, of: VolumeId) -> VolumeRecord | None:
        self._open()
        return self._volumes.get(of)

    async def volumes(self) -> tuple[tuple[VolumeRecord, VolumeVersion], ...]:
        self._open()
        found = sorted(
            self._volumes.values(), key=lambda one: (not one.name, one.environment, one.name, one.id)
        )
        return tuple((one, self._labelled(self._newest(one.id))) for one in found)

    async def rename_volume(self, of: VolumeId, name: str) -> bool:
        self._open()
        known = self._volumes.get(of)
        if known is None:
            return False
        holder = self._volume_named(known.environment, name)
        if holder is not None:
            return holder.id == of
        self._volumes[of] = replace(known, name=name)
        return True

    async def drop_volume(self, of: VolumeId) -> bool:
        self._open()
        self._volume_versions.pop(of, None)
        self._volume_labels.pop(of, None)
        return self._volumes.pop(of, None) is not None

    async def volume_head(self, of: VolumeId) -> VolumeVersion | None:
        self._open()
        return self._labelled(self._newest(of)) if of in self._volumes else None

    async def volume_version(self, of: VolumeId, number: int) -> VolumeVersion | None:
        self._open()
        known = self._volume_versions.get(of, {}).get(number)
        return None if known is None else self._labelled(known)

    async def volume_label(self, of: VolumeId, label: str) -> VolumeVersion | None:
        number = self._volume_labels.get(of, {}).get(label)
        return None if number is None else await self.volume_version(of, number)

    async def volume_commit(self, of: VolumeId, commit: CommitId) -> VolumeVersion | None:
        self._open()
        known = self._committed(of, commit)
        return None if known is None else self._labelled(known)

    async def volume_history(
        self, of: VolumeId, *, most: int, before: int | None = None
    ) -> tuple[VolumeVersion, ...]:
        self._open()
        kept = self._volume_versions.get(of, {})
        numbers = sorted((number for number in kept if before is None or number < before), reverse=True)
        return tuple(self._labelled(kept[number]) for number in numbers[:most])

    async def put_version(self, version: VolumeVersion) -> PutVersion:
        self._open()
        known = self._committed(version.volume, version.commit)
        if known is not None:
            return PutVersion(put=Put.DONE, version=self._labelled(known))
        if version.volume not in self._volumes:
            return PutVersion(put=Put.GONE)
        head = self._newest(version.volume)
        if head.number != version.parent:
            return PutVersion(put=Put.MOVED, version=self._labelled(head))
        added = replace(version, number=head.number + 1, labels=())
        self._volume_versions[version.volume][added.number] = added
        return PutVersion(put=Put.DONE, version=added)

    async def put_label(self, wanted: VolumeLabel, *, most: int) -> bool:
        self._open()
        labels = self._volume_labels.get(wanted.volume, {})
        if wanted.label in labels:
            return labels[wanted.label] == wanted.number
        if len(labels) >= most or wanted.number not in self._volume_versions.get(wanted.volume, {}):
            return False
        labels[wanted.label] = wanted.number
        return True

    async def drop_label(self, of: VolumeId, label: str) -> bool:
        self._open()
        return self._volume_labels.get(of, {}).pop(label, None) is not None

    async def prune_versions(self, keeping: Keeping) -> int:
        self._open()
        pruned = 0
        for of, kept in self._volume_versions.items():
            named, head = set(self._volume_labels[of].values()), max(kept)
            ordered = sorted(kept)
            for number, later in pairwise(ordered):
                until_s = min(kept[one].at_s for one in ordered if one >= later)
                if number not in named and keeping.goes(behind=head - number, until_s=until_s):
                    del kept[number]
                    pruned += 1
        return pruned

    async def volume_manifests(self) -> frozenset[str]:
        self._open()
        return frozenset(one.manifest for kept in self._volume_versions.values() for one in kept.values())

    def _volume_named(self, environment: str, name: str) -> VolumeRecord | None:
        found = (one for one in self._volumes.values() if (one.environment, one.name) == (environment, name))
        return next((one for one in found if name), None)

    def _newest(self, of: VolumeId) -> VolumeVersion:
        kept = self._volume_versions[of]
        return kept[max(kept)]

    def _committed(self, of: VolumeId, commit: CommitId) -> VolumeVersion | None:
        kept = self._volume_versions.get(of, {}).values()
        return next((one for one in kept if commit and one.commit == commit), None)

    def _labelled(self, version: VolumeVersion) -> VolumeVersion:
        held = self._volume_labels.get(version.volume, {})
        return replace(version, labels=tuple(sorted(one for one, no in held.items() if no == version.number)))

    def _open(self) -> None:
        """Raises StoreClosed; see `MemoryState`."""
        raise NotImplementedError
