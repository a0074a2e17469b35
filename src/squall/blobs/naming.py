"""Naming: which blobs the bytes of another one name, as a tree its files and a manifest its chunks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from squall.blobs.digest import Bytes, Digest

HEAD_BYTES: Final = 24

# Inside a JSON string a quote has a backslash before it: what stands so, stands between values.
_KINDS: Final = {
    b'["squall-tree",1]\n': re.compile(rb',[0-9]+,"([0-9a-f]{64})"\]'),
    b'["squall-manifest",1]\n': re.compile(rb'\["([0-9a-f]{64})",[0-9]+,[0-9]+\]'),
}
_LONGEST: Final = 128  # bytes of one mention, with room


def names_others(head: bytes) -> bool:
    """Whether a blob that begins so, with HEAD_BYTES or all of it, is a tree or a manifest."""
    return _kind(head) is not None


class Names:
    """What a blob names, read from its bytes in parts, cut anywhere; it holds one part, however long a line is."""

    def __init__(self) -> None:
        self._rest = b""
        self._said: re.Pattern[bytes] | None = None
        self._begun = False

    def feed(self, part: Bytes) -> Iterator[Digest]:
        """Those whose mentions end in this part; of mentions in a row that are the same, one."""
        data = self._rest + bytes(part)
        if not self._begun:
            if len(data) < HEAD_BYTES:
                # Both kinds are longer as soon as they name anything.
                self._rest = data
                return
            self._begun, self._said = True, _kind(data)
        if self._said is None:
            return
        end, last = 0, b""
        for found in self._said.finditer(data):
            end = found.end()
            if found[1] != last:
                last = found[1]
                yield Digest(last.decode())
        self._rest = data[max(end, len(data) - _LONGEST) :]


def _kind(head: bytes) -> re.Pattern[bytes] | None:
    return next((said for start, said in _KINDS.items() if head.startswith(start)), None)
