"""Conda Python: the interpreter of a conda environment, read from the layers of an image. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from squall.blobs.manifest import Entry, File
from squall.images.conda.nouns import PREFIX, RECORDS
from squall.images.rooted.layered import Layered
from squall.images.rooted.nouns import Interpreter

_RECORD: Final = re.compile(
    rf"{PREFIX.removeprefix('/')}/{RECORDS}/python-(?P<version>3\.\d+[^-/]*)-[^-/]+\.json"
)


def environment_python(layers: Sequence[Mapping[str, Entry]]) -> Interpreter | None:
    """The Python of the environment in these layers, the top one first; None where there is none.

    It is no copy of the client's, so containers that run it start it anew.
    """
    shown = Layered(layers)
    for layer in layers:
        for path in layer:
            found = _RECORD.fullmatch(path)
            if found is not None and isinstance(shown.at(path), File):
                minor = ".".join(found["version"].split(".")[:2])
                return Interpreter(
                    path=f"{PREFIX}/bin/python",
                    prefix=PREFIX,
                    version=found["version"],
                    packages=(f"{PREFIX}/lib/python{minor}/site-packages",),
                )
    return None
