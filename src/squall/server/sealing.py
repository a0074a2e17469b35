"""Sealing: values under a key of their own, and that under the master key (AES-256-GCM). Only this file knows how.

Each part is a nonce of 12 bytes and what AES-GCM makes of it. Bound to both is what they belong to: opened as anything
else, or with one bit changed, they are refused.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = 12
_KEY_BITS: Final = 256


class NotOpenedError(Exception):
    """It was sealed with another key, for something else, or was changed since."""


def seal(values: bytes, master: bytes, belongs: bytes) -> tuple[bytes, bytes]:
    """The sealed values, and their key, wrapped."""
    key = AESGCM.generate_key(_KEY_BITS)
    return _put(key, values, belongs), _put(master, key, belongs)


def open_sealed(sealed: bytes, wrapped: bytes, master: bytes, belongs: bytes) -> bytes:
    """The values. Raises NotOpenedError."""
    return _take(_take(master, wrapped, belongs), sealed, belongs)


def rewrap(wrapped: bytes, old: bytes, new: bytes, belongs: bytes) -> bytes:
    """The key under another master key. Raises NotOpenedError."""
    return _put(new, _take(old, wrapped, belongs), belongs)


def _put(key: bytes, plain: bytes, belongs: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, belongs)


def _take(key: bytes, put: bytes, belongs: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(put[:_NONCE], put[_NONCE:], belongs)
    except (InvalidTag, ValueError) as wrong:
        raise NotOpenedError from wrong
