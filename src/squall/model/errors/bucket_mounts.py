"""Errors of buckets that are mounted in containers."""

# ruff: noqa: N818 - the names are those of the tree, most of them without a suffix

from __future__ import annotations

from squall.model.errors.asked import FeatureUnavailable, InvalidError
from squall.model.errors.containers import ContainerStartError


class BucketMountInvalid(InvalidError):
    """A bucket cannot be mounted as it was asked for."""

    code, status = "SQ-1960", 422
    remedy = 'write `volumes={"/data": squall.CloudBucketMount("my-bucket", secret=...)}`'
    bucket: str | None = None


class BucketMountUnavailable(FeatureUnavailable):
    """This machine, or its level of isolation, mounts no buckets, or not with these credentials."""

    code, status = "SQ-1961", 501
    remedy = "let whoever runs Squall open /dev/fuse (`modprobe fuse`, mode 0666), and install `squall[s3]`"


class BucketMountFailed(ContainerStartError):
    """The process that serves a bucket to containers could not be started, or does not answer."""

    code, status = "SQ-1962", 500
    remedy = "look into `logs/buckets.log` in the state directory"
    bucket: str | None = None
