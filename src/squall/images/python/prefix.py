"""Prefix: looks at the client's own Python on this machine: its files, and the libraries that they need."""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from squall.images.python.contents import belongs
from squall.images.python.elf import Elf, read_elf
from squall.images.python.nouns import PREFIX, Binary, ClientPrefix, Declined
from squall.model.image import ClientPython
from squall.runtime.ld_cache import libraries_in

MAX_FILES: Final = 50_000
MAX_BYTES: Final = 1 << 30

WHAT: Final = "the client's own Python"

# Parts of one C library: another one's would not work beside the base's own.
_OF_GLIBC = re.compile(
    r"ld-linux.*|lib(c|m)\.so\.6|lib(dl|resolv)\.so\.2|libpthread\.so\.0"
    r"|lib(anl|BrokenLocale|mvec|nsl|rt|thread_db|util)\.so\.1"
)
_DEBIANS_PACKAGES: Final = "/usr/lib/python3/dist-packages"
_CACHE: Final = "/etc/ld.so.cache"


def look_at_prefix(python: ClientPython) -> ClientPrefix | Declined:
    """What of the client's Python can be copied, or why nothing can. It reads no file but those of that Python and its libraries."""
    try:
        return _look(python)
    except OSError as error:
        return Declined(WHAT, f"{error.filename or 'it'} cannot be read: {error.strerror}")


def _look(python: ClientPython) -> ClientPrefix | Declined:
    stdlib = next((path for path in python.stdlib_dirs if Path(path, "os.py").is_file()), None)
    if stdlib is None or not stdlib.startswith(f"{python.base_prefix.rstrip('/')}/"):
        return Declined(WHAT, "its standard library is not below its prefix")
    inside = os.path.relpath(stdlib, python.base_prefix)
    if not belongs(f"{inside}/os.py"):
        return Declined(WHAT, f"its standard library has no place of its own: it is in {inside}")
    source = _interpreter(python)
    elf = _elf(source)
    if elf is None or elf.interpreter is None:
        return Declined(WHAT, f"{source} is no program that runs on its own")
    found = _Found(python, inside)
    if found.count > MAX_FILES or found.size > MAX_BYTES:
        return Declined(WHAT, f"it has more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB")
    program = Binary(path=f"{found.home}/bin/python{python.minor}", source=source, elf=elf)
    binaries = (program, *_modules(found.files))
    target = f"{_up(f'{PREFIX}/bin')}{program.path}"
    return ClientPrefix(
        version=python.version,
        interpreter=program.path,
        source=source,
        prefix=python.base_prefix,
        stdlib=f"{found.home}/{inside}",
        site_packages=_site_packages(found.home, python.minor),
        files=(*found.files, (program.path, source)),
        links=(*found.links, *((f"{PREFIX}/bin/{name}", target) for name in ("python3", "python"))),
        binaries=binaries,
        libraries=_libraries(binaries, elf.machine),
        size=found.size,
    )


def _home(python: ClientPython) -> str:
    """Where this Python finds its home in an image.

    Any other than a distribution's looks around itself, and so does well at PREFIX. A distribution's, moved there, would send what is installed
    to `local` below it: it stays where it is on every machine of its kind.
    """
    return "usr" if python.base_prefix == "/usr" else PREFIX


def _site_packages(home: str, minor: str) -> str:
    if home == PREFIX:
        return f"{home}/lib/python{minor}/site-packages"
    kind = "dist-packages" if os.path.isdir(_DEBIANS_PACKAGES) else "site-packages"
    return f"{PREFIX}/lib/python{minor}/{kind}"


def _up(directory: str) -> str:
    return "../" * (directory.count("/") + 1)


def _interpreter(python: ClientPython) -> str:
    """The program itself, not a link of a virtual environment to it."""
    own = os.path.join(python.base_prefix, "bin", f"python{python.minor}")
    return os.path.realpath(own if os.path.isfile(own) else python.executable)


class _Found:
    """The files of a prefix that go into an image, by the paths that they get there."""

    def __init__(self, python: ClientPython, inside: str) -> None:
        self.files: list[tuple[str, str]] = []
        self.links: list[tuple[str, str]] = []
        self.size = 0
        self.count = 0
        self.home = _home(python)
        for below in (inside, f"include/python{python.minor}"):
            self._walk(os.path.join(python.base_prefix, below), below)

    def _walk(self, directory: str, inside: str) -> None:
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            path = f"{inside}/{entry.name}"
            info = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                if belongs(f"{path}/any"):
                    self._walk(entry.path, path)
            elif belongs(path):
                self._take(entry.path, path, info)

    def _take(self, source: str, path: str, info: os.stat_result) -> None:
        self.count += 1
        if self.count > MAX_FILES or self.size > MAX_BYTES:
            return
        if stat.S_ISREG(info.st_mode):
            self.size += info.st_size
            self.files.append((f"{self.home}/{path}", source))
        elif stat.S_ISLNK(info.st_mode):
            target = os.readlink(source)
            end = os.path.normpath(os.path.join(os.path.dirname(path), target))
            # One that leads out of the library would lead to whatever the image has there.
            if not target.startswith("/") and belongs(end):
                self.links.append((f"{self.home}/{path}", target))


def _modules(files: list[tuple[str, str]]) -> Iterator[Binary]:
    for path, source in files:
        if "/lib-dynload/" in path and path.endswith(".so"):
            elf = _elf(source)
            if elf is not None:
                yield Binary(path=path, source=source, elf=elf)


def _libraries(binaries: tuple[Binary, ...], machine: str) -> dict[str, Binary]:
    """Every library that one of these needs, also through another, where it lies here as the loader would find it."""
    cache = Path(_CACHE).read_bytes() if os.path.isfile(_CACHE) else b""
    cached = libraries_in(cache, machine)
    found: dict[str, Binary] = {}
    left = list(binaries)
    missed: set[str] = set()
    while left:
        one = left.pop()
        for name in one.elf.needed:
            if name in found or name in missed or "/" in name or _OF_GLIBC.fullmatch(name):
                continue
            library = _library(name, one, machine, cached)
            if library is None:
                missed.add(name)
            else:
                found[name] = library
                left.append(library)
    return found


def _library(name: str, wanted_by: Binary, machine: str, cached: dict[str, str]) -> Binary | None:
    origin = os.path.dirname(wanted_by.source)
    named = [part.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for part in wanted_by.elf.rpath]
    triplet = f"{machine}-linux-gnu"
    usual = (f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
    for path in (
        *(os.path.join(directory, name) for directory in named),
        *((cached[name],) if name in cached else ()),
        *(os.path.join(directory, name) for directory in usual),
    ):
        elf = _elf(path) if os.path.isfile(path) else None
        if elf is not None and elf.machine == machine:
            return Binary(path=name, source=os.path.realpath(path), elf=elf)
    return None


def _elf(path: str) -> Elf | None:
    with open(path, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or not os.fstat(file.fileno()).st_size:
            return None
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            return read_elf(data)
