"""Digests: those that a description names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from squall.blobs.digest import Digest

_DIGEST = re.compile(r"[0-9a-f]{64}")


def digests_in(plain: Any) -> Iterator[Digest]:
    """Everything in a JSON value that looks like a digest: too much rather than too little."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            yield from digests_in(key)
            yield from digests_in(value)
    elif isinstance(plain, list):
        for value in plain:
            yield from digests_in(value)
    elif isinstance(plain, str):
        yield from map(Digest, _DIGEST.findall(plain))
