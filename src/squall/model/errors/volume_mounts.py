"""Errors of volumes in containers."""

# ruff: noqa: N818 - the names are those of the tree, most of them without a suffix

from __future__ import annotations

from squall.model.errors.containers import ContainerStartError
from squall.model.errors.root import Error


class VolumeNotCommitted(Error):
    """What a container has written to a volume could not be committed now; it stays in the container, and is tried again."""

    code, status = "SQ-1953", 503
    remedy = "free what is short; the next commit, by the code or by itself, takes all that was written"
    volume: str | None = None


class VolumeMountRefused(ContainerStartError):
    """This machine cannot show the volume in this container."""

    code, status = "SQ-1954", 500
    remedy = "leave out `level=`, or run on a machine where `squall doctor` finds mounts"
