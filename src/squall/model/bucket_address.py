"""Bucket address: what a bucket may be called, and where its service may be."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

BUCKET_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")


def is_endpoint(text: object) -> bool:
    """Whether it is the address of a service: scheme, host and perhaps a port, and no more."""
    if not isinstance(text, str):
        return False
    try:
        parts = urlsplit(text)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        return False
    bare = SplitResult(parts.scheme, parts.netloc, "", "", "")
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and port_is_one
        and "@" not in parts.netloc
        and text.rstrip("/") == bare.geturl()
        and text.isascii()
        and text.isprintable()
        and " " not in text
    )
