"""Errors of volumes."""

# ruff: noqa: N818 - the names are those of the tree, most of them without a suffix

from __future__ import annotations

import builtins

from squall.model.errors.asked import (
    AlreadyExistsError,
    ConflictError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
)
from squall.model.errors.root import Error


class VolumeNotFound(NotFoundError):
    """There is no volume of this name."""

    code, status = "SQ-1945", 404
    remedy = "look at `squall volume list`, or pass `create_if_missing=True`"
    name: str | None = None


class VolumePathInvalid(InvalidError):
    """This path cannot be one of a volume, or not one that a volume is mounted at."""

    code, status = "SQ-1946", 400
    remedy = "name a path below the volume's own directory, without `..`; mount at an absolute path such as `/data`"
    path: str | None = None


class VolumePathNotFound(NotFoundError, builtins.FileNotFoundError):
    """There is nothing at this path of the volume."""

    code, status = "SQ-1947", 404
    remedy = "look at `squall volume ls NAME`; what a container writes is there after its commit"
    path: str | None = None


class VolumePathTaken(AlreadyExistsError, builtins.FileExistsError):
    """There is something at this path of the volume already; nothing was changed."""

    code, status = "SQ-1948", 409
    remedy = "choose another path, remove what is there, or overwrite it: `batch_upload(force=True)`, `put --force`"
    path: str | None = None


class VolumeVersionNotFound(NotFoundError):
    """The volume has no such version, or has it no more."""

    code, status = "SQ-1949", 404
    remedy = "look at `squall volume history NAME`; a version that has a name stays: `squall volume snapshot NAME LABEL`"


class VolumeReadOnly(PermissionDeniedError):
    """The volume was opened for reading only."""

    code, status = "SQ-1950", 403
    remedy = "use the volume as `Volume.from_name` gives it, without `read_only()`"


class VolumeNotMounted(Error):
    """The volume is not mounted here, so nothing of it was changed here that could be committed."""

    code, status = "SQ-1951", 409
    remedy = "commit and reload inside a function with `volumes={PATH: volume}`; elsewhere write with `batch_upload`"


class VolumeBusy(ConflictError):
    """Files of the volume are open in this container, so it cannot show another version."""

    code, status = "SQ-1952", 409
    remedy = "close the files, and leave the directory, before `reload`"
