"""Naming: which blobs the bytes of another one name, as a manifest its chunks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from squall.blobs.digest import Bytes, Digest
from squall.blobs.manifest_bytes import HEAD

HEAD_BYTES: Final = len(HEAD)

# Inside a JSON string a quote has a backslash before it: what stands so, stands between values.
_CHUNK: Final = re.compile(rb'\["([0-9a-f]{64})",[0-9]+,[0-9]+\]')
_LONGEST: Final = 128  # bytes of one mention, with room


def names_others(head: bytes) -> bool:
    """Whether a blob that begins so, with HEAD_BYTES or all of it, is a manifest."""
    return head.startswith(HEAD)


class Names:
    """What a blob names, read from its bytes in parts, cut anywhere; it holds one part, however long a line is."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_manifest: bool | None = None

    def feed(self, part: Bytes) -> Iterator[Digest]:
        """Those whose mentions end in this part; of mentions in a row that are the same, one."""
        data = self._rest + bytes(part)
        if self._is_manifest is None:
            if len(data) < HEAD_BYTES:
                # It is longer as soon as it names anything.
                self._rest = data
                return
            self._is_manifest = names_others(data)
        if not self._is_manifest:
            return
        end, last = 0, b""
        for found in _CHUNK.finditer(data):
            end = found.end()
            if found[1] != last:
                last = found[1]
                yield Digest(last.decode())
        self._rest = data[max(end, len(data) - _LONGEST) :]
