"""Errors of what is kept on disk: the record of calls, the blobs and the trees made of them."""

# ruff: noqa: N818 - the names are those of the tree, most of them without a suffix

from __future__ import annotations

from squall.model.errors.asked import ConflictError, InvalidError, NotFoundError, PermissionDeniedError
from squall.model.errors.containers import ResourceExhaustedError
from squall.model.errors.machine import ConnectionError, StateDirectoryError  # noqa: A004 - the tree's own
from squall.model.errors.root import Error


class StateDirectoryReadOnly(StateDirectoryError):
    """Nothing can be written in the state directory."""

    code, status = "SQ-1900", 507
    remedy = "make it writable for this user, or give another directory with `SQUALL_STATE_DIR`"


class StateCorrupt(StateDirectoryError):
    """The record in the state directory is damaged."""

    code, status = "SQ-1901", 500
    remedy = (
        "look at the disk's health; then put the newest backup in its place with `squall restore --latest`, or move "
        "the named file away (the record starts afresh)"
    )


class StoreClosed(Error):
    """The store is closed and records nothing more."""

    code, status = "SQ-1902", 503
    remedy = "run the command again: the server was stopping"


class CallConflict(ConflictError):
    """A call with this id is on record, and it is another one."""

    code, status = "SQ-1903", 409
    remedy = "make a new id for each call; ids are drawn at random by the client"
    call: str | None = None


class BlobMissing(NotFoundError):
    """The blob is not in the store."""

    code, status = "SQ-1910", 404
    remedy = "send it again: whoever named the digest has the bytes"
    digest: str | None = None


class BlobCorrupt(Error):
    """The bytes under a digest are not those that it names; they were put aside."""

    code, status = "SQ-1911", 500
    remedy = "send the blob again; if it happens often, look at the disk's health"
    digest: str | None = None
    path: str | None = None


class DigestMismatch(InvalidError):
    """The bytes that arrived are not those that were announced."""

    code, status = "SQ-1912", 422
    remedy = "send them again; if they are read from a file, it changed meanwhile"
    announced: str | None = None
    arrived: str | None = None


class TreeInvalid(InvalidError):
    """A tree names a path that cannot be part of one."""

    code, status = "SQ-1913", 422
    remedy = "rename the file, or leave it out"
    path: str | None = None


class BucketRefused(PermissionDeniedError):
    """The bucket's service does not let these credentials do this."""

    code, status = "SQ-1914", 403
    remedy = (
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to a key that may list the bucket, and read, write and delete "
        "in it; look at the clock and the region too, which are part of each signature"
    )
    bucket: str | None = None


class BucketMissing(NotFoundError):
    """There is no such bucket."""

    code, status = "SQ-1915", 404
    remedy = "make the bucket, or correct its name or the endpoint in the store's URL"
    bucket: str | None = None


class BucketUnreachable(ConnectionError):
    """The bucket's service does not answer."""

    code, status = "SQ-1916", 503
    remedy = "look whether the endpoint in the store's URL is right, the service runs, and this machine has a network"
    bucket: str | None = None


class BucketBusy(Error):
    """The bucket's service asks for fewer requests, and still did after several tries."""

    code, status = "SQ-1917", 503
    remedy = "try again in a minute; if it stays, raise the limit of the service, or spread the load"
    bucket: str | None = None


class BucketFull(ResourceExhaustedError):
    """The bucket takes no more bytes."""

    code, status = "SQ-1918", 507
    remedy = "raise the quota or add disks to the service; blobs that nothing uses can be swept"
    bucket: str | None = None


class BucketFailed(Error):
    """The bucket's service could not do what was asked."""

    code, status = "SQ-1919", 502
    remedy = (
        "try again; if it stays, look at the service's log, and at the endpoint and region in the store's URL"
    )
    bucket: str | None = None


class DatabaseAway(ConnectionError):
    """The database that keeps the record does not answer."""

    code, status = "SQ-1920", 503
    remedy = "look whether the database server runs, and whether this machine reaches it; then try again"
    database: str | None = None


class DatabaseRefused(PermissionDeniedError):
    """The database that keeps the record does not let this server in."""

    code, status = "SQ-1921", 403
    remedy = (
        "look at the user and the database's name in the option `database`, and at the password in PGPASSWORD, in "
        "PGPASSFILE, or in the file that `database_password_file` names; the user must own the database"
    )
    database: str | None = None


class DatabaseBusy(ConflictError):
    """Another server keeps its record in this database."""

    code, status = "SQ-1922", 409
    remedy = "end that server first, or give each server a database of its own with the option `database`"
    database: str | None = None


class DatabaseFailed(Error):
    """The database that keeps the record could not do what was asked."""

    code, status = "SQ-1923", 502
    remedy = "look at the log of the database server"
    database: str | None = None


class BackupUnusable(InvalidError):
    """This file cannot be a backup of the record, or cannot become one."""

    code, status = "SQ-1924", 422
    remedy = "give another one: `squall restore` without a path lists those that were made"
    path: str | None = None
