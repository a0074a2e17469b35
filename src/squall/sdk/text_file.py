"""Text file: a file of the user's that says what an image needs, read as far as one can be long."""

from __future__ import annotations

import os
from typing import Final

from squall.model.errors import InvalidError, SourceFileNotFound

LARGEST: Final = 16 * 1024 * 1024
"""Characters of such a file."""


def read_text(path: str) -> str:
    """The text of a file. Raises SourceFileNotFound, and InvalidError for one that is too long."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8-sig") as file:
            text = file.read(LARGEST + 1)
    except (OSError, UnicodeDecodeError) as problem:
        raise SourceFileNotFound(f"{path} cannot be read: {problem}", path=path) from None
    if len(text) > LARGEST:
        raise InvalidError(f"{path} has more than {LARGEST:,} characters")
    return text
