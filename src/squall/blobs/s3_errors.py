"""S3 error: what a bucket's service said, as an error with a name and a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from squall.model.errors import (
    BucketBusy,
    BucketFailed,
    BucketFull,
    BucketMissing,
    BucketRefused,
    BucketUnreachable,
    Error,
)

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9.]{1,64})</Code>")
# Of one object among several that were to be removed: the library has read the answer itself.
_OF_ONE: Final = re.compile(
    r"request failed for key .{0,1100}: ([^\n]{0,200}?)\.? \(code: ([A-Za-z0-9.]{1,64})\)"
)
_MESSAGE: Final = re.compile(r"<Message>([^<]{1,200})")
_UNANSWERED: Final = re.compile(r"HTTP error|error sending request|timed? ?out|connection", re.IGNORECASE)
# Where the library looks last for keys: the machine it runs on.
_MACHINE_KEYS: Final = re.compile(r"/latest/api/token|/latest/meta-data/iam")

_REFUSED: Final = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
_BUSY: Final = frozenset(
    {"Busy", "RequestLimitExceeded", "ServiceUnavailable", "SlowDown", "TooManyRequests"}
)
_FULL: Final = re.compile(r"Quota|StorageFull|InsufficientStorage|InsufficientCapacity|NoSpace")


def bucket_error(said: str, bucket: str, secrets: Iterable[str] = ()) -> Error:
    """The error to raise for what the library said of the service of `bucket`.

    Of its words only the status, the service's code and its sentence are told, without `secrets`. The detail
    `answered` holds the status, empty where none came.
    """
    status, code, message = (_found(pattern, said) for pattern in (_STATUS, _CODE, _MESSAGE))
    if not code and (of_one := _OF_ONE.search(said)):
        message, code = of_one[1], of_one[2]
    what = " ".join(filter(None, (status, code))) + (f": {message}" if message else "")
    for secret in secrets:
        what = what.replace(secret, "***")
    if _MACHINE_KEYS.search(said):
        return BucketRefused(f"there are no keys for the bucket {bucket!r}", bucket=bucket)
    kind = _kind(status, code, said)
    if kind is BucketMissing:
        return BucketMissing(f"there is no bucket {bucket!r}", bucket=bucket)
    if kind is BucketUnreachable:
        return BucketUnreachable(f"the service of the bucket {bucket!r} does not answer", bucket=bucket)
    told = what or "nothing that is understood"
    return kind(f"the service of the bucket {bucket!r} said: {told}", bucket=bucket, answered=status)


def _kind(status: str, code: str, said: str) -> type[Error]:
    if code == "NoSuchBucket":
        return BucketMissing
    if _FULL.search(code) or status == "507":
        return BucketFull
    if code in _BUSY or status in {"429", "503"}:
        return BucketBusy
    if code in _REFUSED or status in {"401", "403"}:
        return BucketRefused
    if not status and _UNANSWERED.search(said):
        return BucketUnreachable
    return BucketFailed


def _found(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1].strip() if found else ""
