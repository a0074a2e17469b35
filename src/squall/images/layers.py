"""Layers: the directories of built steps and of skeletons on this machine, whole or not there."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from squall.blobs.blob_file import force
from squall.blobs.remove import remove_tree
from squall.images.skeleton import Skeleton
from squall.images.sweep import Layer, layers_to_drop

_KEY = re.compile(r"[0-9a-f]{64}")
_BUILDING: Final = ".building-"
_DYING: Final = ".dying-"
_SKELETON: Final = "skeleton-"


@dataclass(frozen=True, slots=True)
class Building:
    """A layer while it is built: a directory of its own, seen by nobody else and swept if it is left behind."""

    key: str
    top: Path

    @property
    def layer(self) -> Path:
        """What becomes the layer."""
        return self.top / "layer"

    @property
    def inputs(self) -> Path:
        """What the step reads."""
        return self.top / "inputs"


class Layers:
    """The layers below one directory, each named by its key; a name that is there is a layer that is whole."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"no layer has the key {key!r}")
        return self.directory / key

    def keys(self) -> frozenset[str]:
        """The keys of all layers that are here."""
        try:
            return frozenset(name for name in os.listdir(self.directory) if _KEY.fullmatch(name))
        except FileNotFoundError:
            return frozenset()

    def __contains__(self, key: str) -> bool:
        return self.path(key).is_dir()

    def all(self) -> tuple[Layer, ...]:
        """All layers that are here, with their size and last use."""
        return tuple(self._layer(key) for key in sorted(self.keys()))

    def use(self, key: str) -> None:
        """Say that the layer is used now; the record's time stamp is the last use."""
        try:
            os.utime(self._record(key))
        except FileNotFoundError:
            pass

    def begin(self, key: str) -> Building:
        """A place to build the layer in."""
        self.path(key)
        self.directory.mkdir(parents=True, exist_ok=True)
        top = self.directory / f"{_BUILDING}{key[:16]}-{secrets.token_hex(6)}"
        building = Building(key, top)
        for directory in (top, building.layer, building.inputs):
            # Open to the sandbox, whose ids are not ours; the directory above is closed to other users.
            directory.mkdir()
            directory.chmod(0o755)
        return building

    def seal(self, building: Building, record: dict[str, Any]) -> Layer:
        """Make what was built a layer, durably and all at once. If another build was faster, its layer stays."""
        size, files = measure(building.layer)
        flush(building.layer)
        text = json.dumps({**record, "size_bytes": size, "files": files}, sort_keys=True)
        _write_durably(self._record(building.key), text)
        try:
            os.rename(building.layer, self.path(building.key))
        except OSError:
            if building.key not in self:
                raise
        force(self.directory)
        self.drop(building)
        return self._layer(building.key)

    def drop(self, building: Building) -> None:
        """Remove what is left of a build."""
        remove_tree(building.top)

    def remove(self, key: str) -> None:
        """Remove a layer: first its name, at once, then what it held. The caller knows that nobody uses it."""
        dying = self.directory / f"{_DYING}{secrets.token_hex(8)}"
        os.rename(self.path(key), dying)
        self._record(key).unlink(missing_ok=True)
        remove_tree(dying)

    def prune(self, *, in_use: frozenset[str], keep_bytes: int, older_than_s: float) -> tuple[Layer, ...]:
        """Remove layers as `squall.images.sweep.layers_to_drop` decides; those that are gone now."""
        dropped = layers_to_drop(self.all(), in_use=in_use, keep_bytes=keep_bytes, older_than_s=older_than_s)
        for layer in dropped:
            self.remove(layer.key)
        return dropped

    def sweep_leftovers(self) -> tuple[Path, ...]:
        """Take away what killed builds and removals left; the caller then removes the directories that are given back.

        Only before the first build, and while no other process builds here. Quick: it renames.
        """
        if not self.directory.is_dir():
            return ()
        dying = []
        for name in os.listdir(self.directory):
            key = name.removesuffix(".json")
            if name.startswith(_BUILDING):
                dying.append(self.directory / f"{_DYING}{secrets.token_hex(8)}")
                os.rename(self.directory / name, dying[-1])
            elif name.startswith(_DYING):
                dying.append(self.directory / name)
            elif name != key and _KEY.fullmatch(key) and not (self.directory / key).is_dir():
                (self.directory / name).unlink(missing_ok=True)
        return tuple(dying)

    def skeleton(self, skeleton: Skeleton) -> Path:
        """The directory of this skeleton, made once; its time stamp is the last use."""
        place = self.directory / f"{_SKELETON}{skeleton.digest}"
        try:
            os.utime(place)
            return place
        except FileNotFoundError:
            pass
        self.directory.mkdir(parents=True, exist_ok=True)
        top = self.directory / f"{_BUILDING}skeleton-{secrets.token_hex(6)}"
        make_skeleton(top, skeleton)
        flush(top)
        try:
            os.rename(top, place)
        except OSError:
            if not place.is_dir():
                raise
            remove_tree(top)
        return place

    def sweep_skeletons(self, *, in_use: frozenset[str], older_than_s: float) -> int:
        """Remove the skeletons that nobody has used since `older_than_s`; how many. in_use: their directories."""
        old = [
            place
            for place in self.directory.glob(f"{_SKELETON}*")
            if str(place) not in in_use and place.stat().st_mtime < older_than_s
        ]
        for place in old:
            dying = self.directory / f"{_DYING}{secrets.token_hex(8)}"
            os.rename(place, dying)
            remove_tree(dying)
        return len(old)

    def _record(self, key: str) -> Path:
        return self.directory / f"{key}.json"

    def _layer(self, key: str) -> Layer:
        record = self._record(key)
        try:
            said = json.loads(record.read_text(encoding="utf-8"))
            used_s = record.stat().st_mtime
        except (FileNotFoundError, ValueError):
            said, used_s = {}, 0.0  # its record was lost: a layer of unknown size, the first to go
        return Layer(
            key=key,
            label=str(said.get("label", "")),
            size_bytes=int(said.get("size_bytes", 0)),
            files=int(said.get("files", 0)),
            made_s=float(said.get("made_s", 0.0)),
            used_s=used_s,
            tool=str(said.get("tool", "")),
        )


def make_skeleton(top: Path, skeleton: Skeleton) -> None:
    """Write a skeleton into the new directory `top`. Its links are made last, so that nothing is written through one."""
    top.mkdir(mode=0o755)
    top.chmod(0o755)  # whatever the umask says: the container's users must get in
    for path, mode in skeleton.dirs:
        at = top / path.lstrip("/")
        at.mkdir()
        at.chmod(mode)
    for path, text in skeleton.files:
        at = top / path.lstrip("/")
        at.write_text(text, encoding="utf-8")
        at.chmod(0o644)
    for copy in skeleton.copies:
        _copy_public(copy.source, str(top / copy.target.lstrip("/")))
    for path, target in skeleton.links:
        (top / path.lstrip("/")).symlink_to(target)


def _copy_public(source: str, target: str) -> None:
    """Copy what everybody on this machine may read: whatever is closed to others stays closed to containers."""
    try:
        info = os.lstat(source)
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(source), target)
        elif stat.S_ISDIR(info.st_mode) and info.st_mode & 0o005 == 0o005:
            os.mkdir(target)
            os.chmod(target, 0o755)  # noqa: S103 - public before, and read by the container's users
            for name in os.listdir(source):
                _copy_public(os.path.join(source, name), os.path.join(target, name))
        elif stat.S_ISREG(info.st_mode) and info.st_mode & 0o004:
            _copy_file(source, target)
    except FileNotFoundError:
        pass  # gone since it was listed


def copy_tree(source: Path, target: Path) -> None:
    """Copy a layer's content into an empty directory: shared blocks where the file system can, times and modes kept."""
    for here, dirs, files in os.walk(source):
        there = target / os.path.relpath(here, source)
        for name in dirs:
            at = os.path.join(here, name)
            if os.path.islink(at):
                os.symlink(os.readlink(at), there / name)
            else:
                (there / name).mkdir()
        for name in files:
            _copy_file(os.path.join(here, name), str(there / name))


def _copy_file(source: str, target: str) -> None:
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        return
    with open(source, "rb", buffering=0) as read, open(target, "xb", buffering=0) as written:
        seen = os.fstat(read.fileno())
        left = seen.st_size
        try:
            while left > 0 and (moved := os.copy_file_range(read.fileno(), written.fileno(), left)):
                left -= moved
        except OSError:  # a file system without it, or two of them on an old kernel
            left = seen.st_size
            written.seek(0)
        if left:
            read.seek(0)
            written.seek(0)
            shutil.copyfileobj(read, written, 1 << 20)
        os.fchmod(written.fileno(), stat.S_IMODE(seen.st_mode))
        os.utime(written.fileno(), ns=(seen.st_atime_ns, seen.st_mtime_ns))


def hand_over(top: Path, uid: int) -> None:
    """Give a directory of ours and all below it to the ids of a sandbox that is to write there. Only root can."""
    for at in walk(top):
        os.chown(at, uid, uid, follow_symlinks=False)


def take_back(top: Path) -> None:
    """Make what a sandbox wrote ours: owner and modes, nothing that is neither file, directory nor link."""
    own, group = os.geteuid(), os.getegid()
    for at in walk(top):
        info = os.lstat(at)
        if (info.st_uid, info.st_gid) != (own, group):
            os.chown(at, own, group, follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            continue
        if stat.S_ISREG(info.st_mode):
            os.chmod(at, 0o755 if info.st_mode & 0o111 else 0o644)
        elif stat.S_ISDIR(info.st_mode):
            os.chmod(at, 0o755)  # noqa: S103 - a container reads it under other ids; the state directory is closed
        else:
            os.unlink(at)


def measure(top: Path) -> tuple[int, int]:
    """The bytes on disk and the number of files below `top`; a file with several names counts once."""
    size = count = 0
    seen: set[int] = set()
    for at in walk(top):
        info = os.lstat(at)
        if stat.S_ISREG(info.st_mode) and info.st_ino not in seen:
            seen.add(info.st_ino)
            size += info.st_blocks * 512
            count += 1
    return size, count


def walk(top: Path) -> Iterator[str]:
    """Every path below `top` and `top` itself, children first; no link is followed."""
    for here, dirs, files in os.walk(top, topdown=False):
        for name in files:
            yield os.path.join(here, name)
        for name in dirs:
            at = os.path.join(here, name)
            if os.path.islink(at):
                yield at
        yield here


def flush(top: Path) -> None:
    """Return once everything below `top` is on disk."""

    def flush_one(at: str) -> None:
        mode = os.lstat(at).st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            fd = os.open(at, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    # The journal takes many waiting writers with one commit: threads make thousands of small files bearable.
    with ThreadPoolExecutor(max_workers=32) as pool:
        for _ in pool.map(flush_one, walk(top)):
            pass


def _write_durably(path: Path, text: str) -> None:
    temporary = path.with_name(f"{_BUILDING}{secrets.token_hex(6)}.json")
    with open(temporary, "x", encoding="utf-8") as written:
        written.write(text)
        written.flush()
        os.fsync(written.fileno())
    os.rename(temporary, path)
