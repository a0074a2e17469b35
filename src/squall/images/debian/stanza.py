"""Stanza: fields with their values, as every file of the distribution is written. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from squall.blobs.digest import Bytes

MAX_STANZA_BYTES: Final = 1 << 20

_NAME: Final = re.compile(r"[!-,.-9;-~][!-9;-~]*")


def parse_stanza(text: str) -> dict[str, str]:
    """The fields of one stanza, by their names as written; a value's further lines come with the space they begin with.

    Raises ValueError.
    """
    fields: dict[str, str] = {}
    last = ""
    for line in text.split("\n"):
        if line.startswith((" ", "\t")):
            if not last:
                raise ValueError("it begins with the rest of a field")
            fields[last] += "\n" + line
        elif line.strip():
            last, colon, value = line.partition(":")
            if not colon or not _NAME.fullmatch(last):
                raise ValueError(f"{line[:80]!r} is no field")
            if last in fields:
                raise ValueError(f"it has the field {last} twice")
            fields[last] = value.strip()
    return fields


class StanzaReader:
    """Cuts a file into its stanzas, from its bytes as they come. Raises ValueError for one that is too long."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: Bytes) -> Iterator[bytes]:
        """The stanzas that end in these bytes."""
        *whole, self._rest = (self._rest + bytes(data)).split(b"\n\n")
        if len(self._rest) > MAX_STANZA_BYTES:
            raise ValueError(f"an entry of it has more than {MAX_STANZA_BYTES} bytes")
        yield from (stanza for stanza in whole if stanza.strip())

    def end(self) -> Iterator[bytes]:
        """Nothing more comes: the last stanza."""
        if self._rest.strip():
            yield self._rest
        self._rest = b""
