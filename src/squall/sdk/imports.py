"""Which modules a Python file imports, and where those lie below a directory."""

from __future__ import annotations

import os
import re
from typing import Final

from squall.sdk.source_walk import Place

_LARGEST_FILE: Final = 4 * 1024 * 1024
# Quick and a little too generous (a docstring may match): a name too many is only looked for in vain.
_IMPORT: Final = re.compile(
    rb"^[ \t]*(?:from[ \t]+([A-Za-z_][\w.]*)[ \t]+import[ \t]+\(?([\w \t,*]*)|import[ \t]+([^#;\n(]+))",
    re.MULTILINE,
)
_DYNAMIC: Final = re.compile(rb"""import_module\([ \t]*["']([A-Za-z_][\w.]*)["']""")


def imported_names(file: str) -> frozenset[str]:
    """The dotted names of modules that a file imports absolutely, at any depth; empty where it cannot be read.

    `from a import b` gives both `a` and `a.b`, since b may be a module.
    """
    try:
        with open(file, "rb") as opened:
            text = opened.read(_LARGEST_FILE)
    except OSError:
        return frozenset()
    return names_in(text)


def names_in(text: bytes) -> frozenset[str]:
    """The same for the text of a file."""
    found: set[bytes] = set(_DYNAMIC.findall(text))
    for source, members, modules in _IMPORT.findall(text):
        if source:
            found.add(source)
            found.update(
                source + b"." + name for member in members.split(b",") for name in member.split()[:1]
            )
        found.update(name for part in modules.split(b",") for name in part.split()[:1])
    return frozenset(name.decode("utf-8", "replace").rstrip(".") for name in found)


class Finder:
    """Finds modules below one directory by what is on the disk, without importing anything."""

    def __init__(self, root: str) -> None:
        self._root = root

    def places(self, name: str) -> tuple[Place, ...]:
        """The file or package that a dotted name needs: a module, a whole package, or a part of a namespace package."""
        parts = name.split(".")
        path = ""
        for part in parts:
            path = f"{path}/{part}" if path else part
            base = os.path.join(self._root, path)
            if os.path.isfile(os.path.join(base, "__init__.py")):
                return (Place(path=path, is_directory=True),)
            if os.path.isfile(base + ".py"):
                return (Place(path=path + ".py", is_directory=False),)
            if not os.path.isdir(base):
                return ()
        return ()
