"""Volume option: `volumes={PATH: volume}` as it is declared, and as it travels once the volumes are found."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from squall.model.errors import InvalidError
from squall.model.volume import VolumeMount, check_mounts, mount_path
from squall.sdk.bucket_mount import CloudBucketMount


def split(given: Any) -> tuple[dict[str, Any], dict[str, CloudBucketMount]]:
    """The volumes by their paths, and the buckets by theirs. Raises TypeError, VolumePathInvalid."""
    if given is None:
        return {}, {}
    if not isinstance(given, Mapping):
        raise TypeError(f"volumes is a dict of paths and volumes, not {given!r:.90}")
    by_path = {os.fspath(path) if isinstance(path, os.PathLike) else path: one for path, one in given.items()}
    buckets = {path: one for path, one in by_path.items() if isinstance(one, CloudBucketMount)}
    volumes = _volumes({path: one for path, one in by_path.items() if path not in buckets})
    return volumes, {mount_path(path): one for path, one in buckets.items()}


def _volumes(given: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, volume in given.items():
        if not hasattr(volume, "mount_at"):
            raise TypeError(
                f"volumes[{path!r}] is a squall.Volume or squall.CloudBucketMount, not {volume!r:.90}"
            )
        if mount_path(path) in found:
            raise InvalidError(f"two volumes are to be mounted at {mount_path(path)}")
        found[mount_path(path)] = volume
    return found


async def mounts_of(volumes: Mapping[str, Any], environment: str = "") -> tuple[VolumeMount, ...]:
    """The mounts, once each volume is found, or made where it may be. environment: that of volumes that name none.

    Raises VolumeNotFound, VolumePathInvalid.
    """
    return check_mounts([await volume.mount_at(path, environment) for path, volume in volumes.items()])
