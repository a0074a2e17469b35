"""S3 address: which bucket holds the blobs, where it is, and with which keys it opens."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from squall.model.bucket_address import BUCKET_NAME, is_endpoint
from squall.model.errors import InvalidError

MAX_PREFIX_BYTES: Final = 512  # a key has 1,024 at most

_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+")
_REGION: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_OPTIONS: Final = ("endpoint", "region", "style", "patience")
_STYLES: Final = {"path": False, "virtual": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Keys:
    """What opens a bucket. The secrets are shown nowhere."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be printed."""
        return tuple(filter(None, (self.secret_access_key, self.session_token)))


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Address:
    """A bucket that holds blobs below a prefix.

    endpoint: the service, None for that of AWS in `region` (None: what the environment says). virtual_hosted: the
    endpoint names the bucket already. requester_pays: whoever asks pays for it, and agrees to that. anonymous: no
    request is signed. patience_s: how long a request that fails is tried again. keys: None takes
    them from the environment (AWS_ACCESS_KEY_ID and its like) or from the machine. Raises InvalidError.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    virtual_hosted: bool = False
    requester_pays: bool = False
    anonymous: bool = False
    patience_s: float = 30.0
    keys: S3Keys | None = None

    def __post_init__(self) -> None:
        if not BUCKET_NAME.fullmatch(self.bucket):
            raise InvalidError(
                f"{self.bucket[:80]!r} is no name of a bucket",
                remedy="a bucket has 3 to 63 small letters, digits, dots and hyphens",
            )
        names = self.prefix.split("/") if self.prefix else []
        if len(self.prefix) > MAX_PREFIX_BYTES or not all(map(_names_a_folder, names)):
            raise InvalidError(
                f"{self.prefix[:80]!r} cannot stand before the keys of blobs",
                remedy="give names of letters, digits, `.`, `_` and `-`, with one `/` between two of them: `team/blobs`",
            )
        if self.endpoint is not None and not is_endpoint(self.endpoint):
            raise InvalidError(
                "the endpoint of a bucket is not one",
                remedy="give a scheme, a host and a port, and nothing else: `endpoint=http://127.0.0.1:8333`",
            )
        if self.region is not None and not _REGION.fullmatch(self.region):
            raise InvalidError(
                f"{self.region[:80]!r} is no region", remedy="give one as in `region=eu-central-1`"
            )
        if not 1 <= self.patience_s <= 600:
            raise InvalidError(
                "a request to a bucket is tried again for 1 to 600 seconds", remedy="give `patience=30`"
            )

    @property
    def root(self) -> str:
        """What every key begins with."""
        return f"{self.prefix}/" if self.prefix else ""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def parse_s3_url(url: str, keys: S3Keys | None = None) -> S3Address:
    """The address that `s3://bucket/prefix?endpoint=...&region=...&style=path|virtual&patience=SECONDS` names.

    Raises InvalidError, which never repeats the URL: whoever puts a secret there shall not find it in a log.
    """
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else []
    except ValueError:
        raise _not_a_url("it cannot be read") from None
    if parts.scheme != "s3":
        raise _not_a_url("it does not begin with `s3://`")
    if "@" in parts.netloc:
        raise _not_a_url("keys do not belong into it")
    if parts.fragment:
        raise _not_a_url("it has a part after `#`")
    options = dict(query)
    if len(options) != len(query) or not options.keys() <= set(_OPTIONS):
        raise _not_a_url(f"after `?` it may have {', '.join(_OPTIONS)}, each once")
    style, patience = options.get("style", "path"), options.get("patience", "30")
    if style not in _STYLES or not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", patience):
        raise _not_a_url("`style` is path or virtual, and `patience` a number of seconds")
    return S3Address(
        bucket=parts.netloc,
        prefix=parts.path.strip("/"),
        endpoint=options.get("endpoint"),
        region=options.get("region"),
        virtual_hosted=_STYLES[style],
        patience_s=float(patience),
        keys=keys,
    )


def _not_a_url(why: str) -> InvalidError:
    return InvalidError(
        f"the URL of a bucket cannot be used: {why}",
        remedy="write `s3://bucket/prefix?endpoint=http://127.0.0.1:8333&region=us-east-1`; "
        "keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    )


def _names_a_folder(name: str) -> bool:
    return bool(_SEGMENT.fullmatch(name)) and name not in {".", ".."}
