"""Libraries: which of those that a copied Python needs the base has, which go with it, and what has to stay behind. Pure.

A library that the base lacks is laid into the directory that the base's own C library lies in: of all places, the loader is
certain to look there, with no cache to renew (`ldconfig` is not everywhere), no variable that every child inherits (LD_LIBRARY_PATH
goes before what wheels bring for themselves), and no byte of a program changed. A name that the base has is never laid over; a package
that is installed later replaces ours with its own of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from squall.images.python.elf import Elf, newest_glibc
from squall.images.python.nouns import Base, Binary, ClientPrefix, dotted

# Without these no runner starts. Other extension modules are left out where their libraries are missing.
_NEEDED_MODULES: Final = frozenset(
    {
        *(
            "_asyncio",
            "_bisect",
            "_contextvars",
            "_ctypes",
            "_datetime",
            "_heapq",
            "_json",
            "_opcode",
            "_pickle",
        ),
        *(
            "_posixsubprocess",
            "_queue",
            "_random",
            "_socket",
            "_struct",
            "array",
            "binascii",
            "fcntl",
            "math",
        ),
        *("select", "zlib"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a prefix fits a base.

    brought: libraries that go with it, by their names. left_out: paths of modules that stay behind, each with the reason. refused: why it does not fit at all, ""
    where it does.
    """

    brought: Mapping[str, Binary] = field(default_factory=dict)
    left_out: tuple[tuple[str, str], ...] = ()
    refused: str = ""


def fit(prefix: ClientPrefix, base: Base) -> Fit:
    """How the binaries of `prefix` find what they need on `base`."""
    brought: dict[str, Binary] = {}
    left_out: list[tuple[str, str]] = []
    for binary in prefix.binaries:
        own = _Needs(prefix, base)
        wrong = own.wrong_with(binary.elf)
        if not wrong:
            brought |= own.brought
        elif binary.path == prefix.interpreter or module_of(binary.path) in _NEEDED_MODULES:
            return Fit(refused=f"{_name(binary.path)} {wrong}")
        else:
            left_out.append((binary.path, wrong))
    return Fit(brought=dict(sorted(brought.items())), left_out=tuple(left_out))


def module_of(path: str) -> str:
    """The name that an extension module is imported by: "_ssl" of ".../_ssl.cpython-312-x86_64-linux-gnu.so"."""
    return _name(path).partition(".")[0]


class _Needs:
    """What one binary needs, with all that this needs in turn."""

    def __init__(self, prefix: ClientPrefix, base: Base) -> None:
        self.brought: dict[str, Binary] = {}
        self._prefix = prefix
        self._base = base

    def wrong_with(self, elf: Elf) -> str:
        """Why the loader would refuse it, as the end of a sentence; "" where it would not."""
        left = [elf]
        while left:
            one = left.pop()
            for name in one.needed:
                if name in self._base.libraries or name in self.brought:
                    continue
                ours = self._prefix.libraries.get(name)
                if ours is None:
                    return f"needs {name}, which the image lacks and this machine cannot give"
                self.brought[name] = ours
                left.append(ours.elf)
            for name, versions in one.requires:
                wrong = self._wrong_versions(name, versions)
                if wrong:
                    return wrong
        return ""

    def _wrong_versions(self, name: str, versions: tuple[str, ...]) -> str:
        defined = self._base.libraries.get(name)
        if defined is None:
            return ""
        missing = tuple(version for version in versions if version not in defined)
        if not missing:
            return ""
        glibc = newest_glibc(missing)
        if glibc is not None and self._base.libc is not None:
            return f"needs glibc {dotted(glibc)}, and the image has {dotted(self._base.libc.version)}"
        return f"needs {missing[0]} of {name}, and the image has another version of it"


def _name(path: str) -> str:
    return path.rpartition("/")[2]
