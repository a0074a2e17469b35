"""Trees: a directory that has all that layers keep, what becomes of it in a second layer, and all that can be seen of one."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

# Any capability will do: cap_net_raw, effective and permitted, in the second form that the kernel knows.
CAPABILITY: Final = struct.pack("<IIIII", 0x0200_0001, 1 << 13, 0, 0, 0)
LONG_NAME: Final = b"n" * 251 + "…".encode()
OWNER, GROUP = 123_456, 3_000_000_000  # above what a plain header of tar has room for

_BEFORE_1970: Final = -86_400 * 365
_OFTEN: Final = 1_700_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a path is: kind, mode, owner and group, time in seconds, extended attributes; a link's target or a file's content."""

    kind: int
    mode: int
    owners: tuple[int, int]
    mtime: int
    xattrs: tuple[tuple[bytes, bytes], ...]
    content: bytes = b""
    names: tuple[bytes, ...] = ()


def seen(top: Path) -> dict[bytes, Seen]:
    """All paths below a directory, and itself, by their names from there. Those of one inode have all its names."""
    root = os.fsencode(top)
    found: dict[bytes, Seen] = {}
    inodes: dict[int, list[bytes]] = defaultdict(list)
    for path in _all(root):
        status = os.lstat(path)
        name = path[len(root) + 1 :]
        if not stat.S_ISDIR(status.st_mode):
            inodes[status.st_ino].append(name)
        found[name] = Seen(
            kind=stat.S_IFMT(status.st_mode),
            mode=stat.S_IMODE(status.st_mode),
            owners=(status.st_uid, status.st_gid),
            mtime=status.st_mtime_ns // 1_000_000_000,
            xattrs=tuple(
                (os.fsencode(xattr), os.getxattr(path, xattr, follow_symlinks=False))
                for xattr in sorted(os.listxattr(path, follow_symlinks=False))
                if not xattr.startswith("trusted.")
            ),
            content=_content(path, status.st_mode),
        )
    for names in inodes.values():
        for name in names:
            found[name] = replace(found[name], names=tuple(sorted(names)))
    return found


def differences(one: dict[bytes, Seen], other: dict[bytes, Seen]) -> list[str]:
    """A line for each path at which two trees differ, with what each has there."""
    paths = sorted(one.keys() | other.keys())
    return [
        f"{path!r}: {one.get(path)}, and there {other.get(path)}"
        for path in paths
        if one.get(path) != other.get(path)
    ]


def fill(top: Path) -> None:
    """Everything that a layer can hold, in an empty directory. Needs root."""
    for name in (
        "bin",
        "etc/opaque/deep",
        "etc/gone/deep",
        "etc/becomes-file/deep",
        "etc/becomes-link",
        "srv",
        "empty",
        "tmp",
    ):
        (top / name).mkdir(parents=True)
    (top / "tmp").chmod(0o1777)
    (top / "empty").chmod(0o700)
    for name, mode in (("su", 0o4755), ("wall", 0o2755), ("secret", 0o000), ("ping", 0o755)):
        _file(top / "bin" / name, name.encode(), mode)
    os.setxattr(top / "bin" / "ping", "security.capability", CAPABILITY)
    os.setxattr(top / "bin" / "wall", "user.note", b"\0\n= of any bytes\xff")
    os.setxattr(top / "srv", "user.of-directory", b"1")
    os.chown(top / "srv", OWNER, GROUP)
    _file(top / "srv" / "owned", b"owned", 0o640)
    os.chown(top / "srv" / "owned", OWNER, GROUP)
    _links(top)
    os.mkfifo(top / "srv" / "pipe", 0o620)
    (top / "srv" / "big").write_bytes(b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(50_000)))
    with (top / "srv" / "sparse").open("wb") as sparse:
        sparse.seek(3 << 20)
        sparse.write(b"in the middle")
        sparse.truncate(8 << 20)
    _names(top / "srv")
    for name in (
        "opaque/hidden",
        "opaque/deep/hidden",
        "gone/file",
        "gone/deep/file",
        "becomes-file/deep/file",
        "becomes-directory",
        "gone-file",
        "changes",
        "becomes-link/file",
    ):
        _file(top / "etc" / name, name.encode())
    (top / "etc" / "was-link").symlink_to("../srv")
    _times(top)


def change(top: Path) -> None:
    """What a second layer says of it: things new, changed, gone, and of another kind than before."""
    etc, srv = top / "etc", top / "srv"
    (etc / "gone-file").unlink()
    for name in ("gone", "becomes-file", "becomes-link"):
        shutil.rmtree(etc / name)
    _file(etc / "becomes-file", b"a file now")
    (etc / "becomes-link").symlink_to("/srv")
    (etc / "becomes-directory").unlink()
    (etc / "becomes-directory" / "deep").mkdir(parents=True)
    _file(etc / "becomes-directory" / "deep" / "file", b"below a directory that was a file")
    (etc / "was-link").unlink()
    (etc / "was-link").mkdir()
    _file(etc / "was-link" / "file", b"below a directory that was a link")
    _file(etc / "changes", b"changed", 0o600)
    (top / "bin" / "su").chmod(0o6711)
    # A name more of what the lower layer has, and one fewer.
    os.link(srv / "big", etc / "big-too")
    (top / "bin" / "linked").unlink()
    _times(etc)


def _links(top: Path) -> None:
    srv = top / "srv"
    for name, target in (
        (b"absolute", b"/bin/su"),
        (b"relative", b"../bin/su"),
        (b"dangling", b"/no/where"),
        (b"bytes", b"caf\xe9 \n"),
        (b"out", b"../../../../../etc/passwd"),
    ):
        os.symlink(target, os.fsencode(srv) + b"/link-" + name)
    os.symlink(b"t/" * 60 + b"end", os.fsencode(srv) + b"/link-long")
    os.lchown(srv / "link-absolute", OWNER, GROUP)
    _file(top / "bin" / "linked", b"three names", 0o751)
    os.link(top / "bin" / "linked", srv / "linked")
    os.link(top / "bin" / "linked", os.fsencode(srv) + b"/linked \xff")
    os.link(srv / "link-dangling", srv / "link-dangling-too", follow_symlinks=False)


def _names(where: Path) -> None:
    raw = os.fsencode(where)
    for name in (
        b"with space ",
        "ünïcode-日本".encode(),
        b"new\nline",
        b"not-utf-8-\xff\xfe",
        b"*?[a]\\",
        b"-rf",
        LONG_NAME,
        b"tab\t\"'",
    ):
        _file(raw + b"/" + name, name)
    deep = raw + b"".join(b"/directory-%03d-" % n + b"d" * 80 for n in range(4))
    os.makedirs(deep)
    _file(deep + b"/" + b"f" * 90, b"deep")
    _file(deep + b"/\xff", b"deep, and no text")


def _file(path: Path | bytes, data: bytes, mode: int = 0o644) -> None:
    with open(path, "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), mode)


def _times(top: Path) -> None:
    """Gives each path a time of its own, the nanoseconds too; directories last, for what is put in them changes theirs."""
    for number, path in enumerate(reversed(list(_all(os.fsencode(top))))):
        seconds = _BEFORE_1970 + number if number % 5 == 0 else _OFTEN + number
        ns = seconds * 1_000_000_000 + (123_456_789 if number % 2 else 0)
        os.utime(path, ns=(ns, ns), follow_symlinks=False)


def _all(top: bytes) -> Iterator[bytes]:
    """A directory and all below it, each directory before what is in it."""
    yield top
    for entry in sorted(os.scandir(top), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            yield from _all(entry.path)
        else:
            yield entry.path


def _content(path: bytes, mode: int) -> bytes:
    if stat.S_ISLNK(mode):
        return os.readlink(path)
    if stat.S_ISREG(mode):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    return b""
