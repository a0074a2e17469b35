"""Records of volumes: what there is, which versions it has had, and what becomes of a new one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from squall.model.deploy import MAIN_ENVIRONMENT
from squall.model.ids import CommitId, VolumeId


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRecord:
    """A volume. name: empty for an ephemeral one, which ends with its client."""

    id: VolumeId
    created_s: float
    name: str = ""
    environment: str = MAIN_ENVIRONMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeVersion:
    """What a volume holds, or held: the digest of its manifest.

    number: 0 is the empty one that every volume begins with. parent: the version whose place it took. commit: the id of
    the commit that made it, by which one that is sent again is known. who, why: for people. entries: how many paths;
    size_bytes: of all files. labels: the names that it has.
    """

    volume: VolumeId
    number: int
    manifest: str
    at_s: float
    parent: int = 0
    commit: CommitId = CommitId("")
    who: str = ""
    why: str = ""
    entries: int = 0
    size_bytes: int = 0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeLabel:
    """A name that a version is to have. at_s: since when."""

    volume: VolumeId
    label: str
    number: int
    at_s: float


class Put(StrEnum):
    """How the recording of a version ended. DONE: it is the head, now or when it was sent first.

    MOVED: another version is the head than the one whose place it was to take. GONE: there is no such volume.
    """

    DONE = "done"
    MOVED = "moved"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class PutVersion:
    """What is answered to a new version. version: as it is on record, where it is."""

    put: Put
    version: VolumeVersion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Which old versions stay beside the head and those with a name: the newest `most` of each volume that had the
    place of the head after `before_s`, and any that had it after `young_s`. Instants in seconds since 1970.
    """

    most: int
    before_s: float
    young_s: float

    def goes(self, *, behind: int, until_s: float) -> bool:
        """Whether a version goes that is so many numbers behind the head, and was the head until then."""
        return until_s < self.young_s and (behind >= self.most or until_s < self.before_s)
