"""Source: which bucket a process serves, below which prefix, with which keys."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from squall.blobs.s3_address import S3Address, S3Keys

PATIENCE_S: Final = 10.0
"""How long a request is tried again before whoever waits is told that it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """As the agent hands it over, keys and all: only ever through a pipe. Raises InvalidError where it names no bucket."""

    address: S3Address
    prefix: str = ""

    def to_json(self) -> dict[str, Any]:
        """All of it, with its secrets."""
        address, keys = self.address, self.address.keys
        return {
            "bucket": address.bucket,
            "endpoint": address.endpoint,
            "region": address.region,
            "virtual_hosted": address.virtual_hosted,
            "requester_pays": address.requester_pays,
            "anonymous": address.anonymous,
            "patience_s": address.patience_s,
            "prefix": self.prefix,
            "keys": None
            if keys is None
            else [keys.access_key_id, keys.secret_access_key, keys.session_token],
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Source:
        given = dict(plain)
        prefix, keys = given.pop("prefix"), given.pop("keys")
        known = None
        if keys is not None:
            known = S3Keys(access_key_id=keys[0], secret_access_key=keys[1], session_token=keys[2])
        return cls(address=S3Address(**given, keys=known), prefix=prefix)


def endpoint_of(bucket: str, endpoint: str | None, *, force_path_style: bool) -> tuple[str | None, bool]:
    """The endpoint to speak to, and whether that names the bucket: as its host's first part, unless the path is to.

    An address that is a number, or this machine, has no names below it: there it is the path always.
    """
    if force_path_style or endpoint is None:
        return endpoint, not force_path_style
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    try:
        ipaddress.ip_address(host)
        return endpoint, False
    except ValueError:
        if "." not in host:
            return endpoint, False
    return urlunsplit(parts._replace(netloc=f"{bucket}.{parts.netloc}")), True
