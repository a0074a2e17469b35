"""Seen: looks at paths of this machine, for the plans that decide what of it a container sees."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from itertools import islice
from typing import Final, Literal
from urllib.parse import unquote, urldefrag

from squall.images.host import Seen

_LINK = re.compile(r"""href=["']([^"']+)["']""", re.IGNORECASE)
_PAGES: Final = 64
_PAGE_BYTES: Final = 1 << 20


def look(path: str) -> Seen | None:
    """What `path` is on this machine; see `squall.images.host.Look`. Sockets, devices and what is hidden are nothing."""
    try:
        info = os.lstat(path)
        if stat.S_ISLNK(info.st_mode):
            return Seen(kind="link", target=os.readlink(path))
    except OSError:
        return None
    kind: Literal["dir", "file"]
    if stat.S_ISDIR(info.st_mode):
        kind = "dir"
    elif stat.S_ISREG(info.st_mode):
        kind = "file"
    else:
        return None
    return Seen(kind=kind, stamp=_stamp(path, info) if path.startswith("/etc/") else "")


def _stamp(path: str, info: os.stat_result) -> str:
    """Differs when the file, or anything below the directory, does."""
    said = [f"{info.st_mode} {info.st_size} {info.st_mtime_ns}"]
    if stat.S_ISDIR(info.st_mode):
        for here, _, names in os.walk(path):
            for name in sorted(names):
                try:
                    inner = os.lstat(os.path.join(here, name))
                except OSError:
                    continue
                said.append(f"{here} {name} {inner.st_mode} {inner.st_size} {inner.st_mtime_ns}")
    return hashlib.sha256("\n".join(sorted(said)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def index_directories(path: str) -> tuple[str, ...]:
    """The directories that a local package index is made of: its own, and those that its pages link to.

    The first pages are read, not all: the files of an index lie together.
    """
    if os.path.isfile(path):
        return tuple(dict.fromkeys([path, *_linked_directories(path)]))
    found = [path]
    try:
        names = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    except OSError:
        return (path,)
    for name in islice(names, _PAGES):
        found.extend(_linked_directories(os.path.join(path, name, "index.html")))
    distinct = dict.fromkeys(found)
    return tuple(at for at in distinct if not any(at.startswith(top + "/") for top in distinct))


def _linked_directories(page: str) -> list[str]:
    try:
        with open(page, encoding="utf-8", errors="replace") as file:
            text = file.read(_PAGE_BYTES)
    except OSError:
        return []
    local = [
        unquote(urldefrag(link)[0].removeprefix("file://"))
        for link in _LINK.findall(text)
        if "://" not in link or link.startswith("file://")
    ]
    ends = (os.path.normpath(os.path.join(os.path.dirname(page), link)) for link in local)
    return list(dict.fromkeys(os.path.dirname(end) for end in ends if not end.endswith("/")))
