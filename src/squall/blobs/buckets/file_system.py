"""File system: one mount of a bucket, as the kernel asks for it."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from squall.blobs.buckets import fuse
from squall.blobs.buckets.bucket import Object, ObjectChangedError
from squall.blobs.buckets.draft import Draft
from squall.blobs.buckets.fuse import Attributes, Opcode, Request
from squall.blobs.buckets.nodes import Nodes
from squall.blobs.buckets.read_ahead import ReadAhead
from squall.blobs.buckets.tree import Entry, Folder, Tree
from squall.model.errors import (
    BucketFull,
    BucketRefused,
    Error,
)

_SPACE: Final = 1 << 50
_ANSWER_S: Final = 150.0
"""A request that is no upload is answered by then, whatever the bucket's service does."""
_CHANGES: Final = frozenset(
    {
        Opcode.SETATTR,
        Opcode.MKNOD,
        Opcode.MKDIR,
        Opcode.UNLINK,
        Opcode.RMDIR,
        Opcode.RENAME,
        Opcode.RENAME2,
        Opcode.WRITE,
        Opcode.CREATE,
        Opcode.SYMLINK,
        Opcode.LINK,
    }
)
_UNBOUNDED: Final = frozenset({Opcode.FLUSH, Opcode.FSYNC, Opcode.RELEASE, Opcode.SETATTR, Opcode.OPEN})
Say = Callable[[str], None]
Reply = bytes | memoryview


@dataclass(slots=True)
class _Open:
    """An open file. It reads an object as it was then, or what is being written."""

    path: str
    read_ahead: ReadAhead | None = None
    draft: Draft | None = None
    writes: bool = False


@dataclass(slots=True)
class _OpenFolder:
    path: str
    rows: list[tuple[bytes, bool, int]] = field(default_factory=list)


class FileSystem:
    """Answers requests. owner: user and group of every file; read_only: nothing is changed; drafts: a directory for what is being written.

    say: told in a sentence what became of a bucket, for people.
    """

    def __init__(self, tree: Tree, *, owner: int, read_only: bool, drafts: str, say: Say) -> None:
        self._tree = tree
        self._owner = owner
        self._read_only = read_only
        self._directory = drafts
        self.say = say
        self._nodes = Nodes()
        self._open: dict[int, _Open] = {}
        self._folders: dict[int, _OpenFolder] = {}
        self._drafts: dict[str, Draft] = {}
        self._etags: dict[int, str | None] = {}
        self._last_handle = 0

    def now(self, request: Request) -> Reply | None:
        """The answer to what needs no waiting; None for what does. Raises OSError."""
        match request.opcode:
            case Opcode.READ:
                place = fuse.transfer(request)
                one = self._file(place.handle)
                if one.draft is not None:
                    return one.draft.read(place.offset, place.size)
                return None if one.read_ahead is None else one.read_ahead.ready(place.offset, place.size)
            case Opcode.WRITE if not self._read_only:
                place = fuse.transfer(request)
                draft = self._file(place.handle).draft
                if draft is None:
                    raise OSError(errno.EBADF, "not open for writing")
                data = fuse.bytes_of(request)[: place.size]
                draft.write(place.offset, data)
                return fuse.written(len(data))
            case Opcode.READDIR:
                return self._read_folder(fuse.transfer(request))
            case Opcode.STATFS:
                return fuse.space(_SPACE)
            case Opcode.RELEASEDIR:
                self._folders.pop(fuse.handle_of(request), None)
                return b""
            case Opcode.FLUSH | Opcode.FSYNC if not self._to_put(request):
                return b""
        return None

    def forget(self, request: Request) -> None:
        """The kernel has forgotten nodes; it waits for no answer."""
        for node, count in fuse.forgotten(request):
            self._nodes.forget(node, count)

    async def answer(self, request: Request) -> Reply:
        """The answer to any other request. Raises OSError with the errno for the user."""
        try:
            if self._read_only and request.opcode in _CHANGES:
                raise OSError(errno.EROFS, "mounted read-only")
            if request.opcode in _UNBOUNDED:
                return await self._do(request)
            async with asyncio.timeout(_ANSWER_S):
                return await self._do(request)
        except (
            Error,
            ObjectChangedError,
            TimeoutError,
            FileNotFoundError,
            KeyError,
            fuse.MalformedError,
        ) as problem:
            raise OSError(self._errno_of(problem), str(problem)) from problem

    def close(self) -> None:
        """It is unmounted: what is open is dropped."""
        for one in self._open.values():
            if one.read_ahead is not None:
                one.read_ahead.close()
        for draft in {id(draft): draft for draft in self._all_drafts()}.values():
            if draft.dirty and draft.path is not None:
                self.say(f"{self._tree.key(draft.path)} was not written: its container ended")
            draft.close()
        self._open.clear()

    async def _do(self, request: Request) -> Reply:
        match request.opcode:
            case Opcode.LOOKUP:
                return await self._look_up(request)
            case Opcode.GETATTR:
                return await self._stat(request)
            case Opcode.SETATTR:
                return await self._change(request)
            case Opcode.MKDIR:
                path = self._tree.child(self._nodes.path(request.node), fuse.folder_name(request))
                await self._tree.make_folder(path)
                return self._entry(path, Folder())
            case Opcode.MKNOD | Opcode.CREATE:
                return await self._create(request)
            case Opcode.UNLINK | Opcode.RMDIR:
                return await self._remove(request)
            case Opcode.RENAME | Opcode.RENAME2:
                return await self._move(request)
            case Opcode.OPEN:
                path = self._nodes.path(request.node)
                return await self._open_file(request.node, path, fuse.flags_of(request))
            case Opcode.READ:
                return await self._read(request)
            case Opcode.OPENDIR:
                return await self._open_folder(request)
            case Opcode.FLUSH | Opcode.FSYNC:
                await self._put(self._file(fuse.handle_of(request)).draft)
                return b""
            case Opcode.RELEASE:
                await self._release(fuse.handle_of(request))
                return b""
            case Opcode.SYMLINK | Opcode.LINK:
                raise OSError(errno.EOPNOTSUPP, "a bucket has no links")
            case _:
                raise OSError(errno.ENOSYS, f"no such request: {request.opcode}")

    async def _look_up(self, request: Request) -> Reply:
        path = self._tree.child(self._nodes.path(request.node), request.name())
        found: Entry | Draft | None = self._drafts.get(path) or await self._tree.look(path)
        if found is None:
            raise OSError(errno.ENOENT, path)
        return self._entry(path, found)

    async def _stat(self, request: Request) -> Reply:
        handle = fuse.stat_handle(request)
        one = None if handle is None else self._open.get(handle)
        if one is not None:
            shown: Entry | Draft | None = one.draft
            if shown is None and one.read_ahead is not None:
                shown = one.read_ahead.known
        else:
            path = self._nodes.path(request.node)
            shown = self._drafts.get(path) or await self._tree.look(path)
        if shown is None:
            raise OSError(errno.ENOENT, "it is gone")
        return fuse.stat(self._attributes(request.node, shown), valid_s=0)

    async def _change(self, request: Request) -> Reply:
        change = fuse.change(request)
        if change.what & (fuse.SET_OWNER | fuse.SET_GROUP):
            owner = change.owner if change.what & fuse.SET_OWNER else self._owner
            group = change.group if change.what & fuse.SET_GROUP else self._owner
            if {owner, group} != {self._owner}:
                raise OSError(errno.EPERM, "objects have no owner of their own")
        if change.what & fuse.SET_SIZE:
            await self._truncate(request.node, change)
        # Times and modes are not kept: to refuse them would break programs that copy files with them.
        path = self._nodes.path(request.node)
        shown = self._drafts.get(path) or await self._tree.look(path)
        if shown is None:
            raise OSError(errno.ENOENT, path)
        return fuse.stat(self._attributes(request.node, shown), valid_s=0)

    async def _truncate(self, node: int, change: fuse.Change) -> None:
        one = None if change.handle is None else self._open.get(change.handle)
        if one is not None and one.draft is not None:
            one.draft.truncate(change.size)
            return
        path = self._nodes.path(node)
        draft = await self._draft_of(path, fresh=change.size == 0)
        try:
            draft.truncate(change.size)
            await self._put(draft)
        finally:
            self._let_go(draft)

    async def _create(self, request: Request) -> Reply:
        if request.opcode == Opcode.MKNOD and not stat.S_ISREG(fuse.made_mode(request)):
            raise OSError(errno.EOPNOTSUPP, "a bucket has files and folders")
        path = self._tree.child(self._nodes.path(request.node), fuse.created_name(request))
        if request.opcode == Opcode.MKNOD:
            draft = await self._draft_of(path, fresh=True)
            try:
                await self._put(draft)
                return self._entry(path, draft)
            finally:
                self._let_go(draft)
        flags = fuse.flags_of(request)
        there = None if path in self._drafts else await self._tree.look(path)
        if isinstance(there, Folder):
            raise OSError(errno.EISDIR, path)
        draft = await self._draft_of(path, fresh=there is None or bool(flags & os.O_TRUNC))
        entry = self._entry(path, draft)
        return entry + fuse.opened(self._new_handle(_Open(path, draft=draft, writes=True)))

    async def _remove(self, request: Request) -> Reply:
        path = self._tree.child(self._nodes.path(request.node), request.name())
        if request.opcode == Opcode.RMDIR:
            start = f"{path}/"
            if any(one.startswith(start) for one in self._drafts):
                raise OSError(errno.ENOTEMPTY, path)
            await self._tree.remove_folder(path)
        else:
            await self._tree.remove(path)
            if (draft := self._drafts.pop(path, None)) is not None:
                draft.path = None
        self._nodes.removed(path)
        return b""

    async def _move(self, request: Request) -> Reply:
        move = fuse.move(request)
        if move.flags & ~fuse.NO_REPLACE:
            raise OSError(errno.EINVAL, "two objects cannot be exchanged")
        old = self._tree.child(self._nodes.path(request.node), move.old)
        new = self._tree.child(self._nodes.path(move.folder), move.new)
        draft = self._drafts.get(old)
        if draft is not None and draft.dirty:
            # It is there under its new name once this is answered, as everywhere else.
            await self._put(draft)
        if any(one.startswith(f"{old}/") for one in self._drafts):
            raise OSError(errno.EXDEV, old)
        await self._tree.move(old, new, replace=not move.flags & fuse.NO_REPLACE)
        if (covered := self._drafts.pop(new, None)) is not None:
            covered.path = None
        if draft is not None and self._drafts.pop(old, None) is draft:
            draft.path = new
            self._drafts[new] = draft
        self._nodes.moved(old, new)
        return b""

    async def _open_file(self, node: int, path: str, flags: int) -> Reply:
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        if writes and self._read_only:
            raise OSError(errno.EROFS, path)
        if writes or path in self._drafts:
            draft = await self._draft_of(path, fresh=bool(flags & os.O_TRUNC))
            return fuse.opened(self._new_handle(_Open(path, draft=draft, writes=writes)))
        found = await self._tree.look(path)
        if not isinstance(found, Object):
            raise OSError(errno.ENOENT if found is None else errno.EISDIR, path)
        # What the kernel has of it in memory stays good as long as the object is the same one.
        same = found.etag is not None and self._etags.get(node) == found.etag
        self._etags[node] = found.etag
        if len(self._etags) > 10_000:
            del self._etags[next(iter(self._etags))]
        read_ahead = ReadAhead(self._tree.bucket, self._tree.key(path), found)
        handle = self._new_handle(_Open(path, read_ahead=read_ahead))
        return fuse.opened(handle, fuse.KEEP_CACHE if same else 0)

    async def _read(self, request: Request) -> Reply:
        place = fuse.transfer(request)
        one = self._file(place.handle)
        if one.read_ahead is None:
            raise OSError(errno.EBADF, "not open for reading")
        try:
            return await one.read_ahead.read(place.offset, place.size)
        except ObjectChangedError:
            self._tree.see_anew(one.path)
            raise

    async def _open_folder(self, request: Request) -> Reply:
        path = self._nodes.path(request.node)
        entries = await self._tree.entries(path)
        start = f"{path}/" if path else ""
        for one in self._drafts:
            name = one.removeprefix(start)
            if one.startswith(start) and "/" not in name:
                entries.setdefault(name, Object(size=0, stored_s=0, etag=None))
        rows = [(b".", True, request.node), (b"..", True, fuse.ROOT)]
        for name, entry in sorted(entries.items()):
            rows.append((name.encode(), isinstance(entry, Folder), self._nodes.peek(start + name)))
        self._last_handle += 1
        self._folders[self._last_handle] = _OpenFolder(path, rows)
        return fuse.opened(self._last_handle)

    def _read_folder(self, place: fuse.Transfer) -> Reply:
        folder = self._folders.get(place.handle)
        if folder is None:
            raise OSError(errno.EBADF, "not an open folder")
        found, room = [], place.size
        for offset, (name, is_folder, node) in enumerate(folder.rows[place.offset :], place.offset + 1):
            row = fuse.directory_entry(node, offset, name, folder=is_folder)
            if len(row) > room:
                break
            found.append(row)
            room -= len(row)
        return b"".join(found)

    async def _release(self, handle: int) -> None:
        one = self._open.pop(handle, None)
        if one is None:
            return
        if one.read_ahead is not None:
            one.read_ahead.close()
        if one.draft is not None:
            try:
                # What was written after the last close(): memory that was mapped.
                if one.writes and one.draft.users == 1 and not one.draft.lost:
                    await self._put(one.draft)
            finally:
                self._let_go(one.draft)

    async def _draft_of(self, path: str, *, fresh: bool) -> Draft:
        """What is being written at this path, used once more. fresh: nothing of what is there stays."""
        draft = self._drafts.get(path)
        if draft is not None:
            draft.users += 1
            if fresh:
                draft.truncate(0)
            return draft
        found = await self._tree.look(path)
        if isinstance(found, Folder):
            raise OSError(errno.EISDIR, path)
        if found is None and not fresh:
            raise OSError(errno.ENOENT, path)
        if path in self._drafts:
            # Made while this one waited.
            return await self._draft_of(path, fresh=fresh)
        draft = Draft(path, self._directory)
        if found is not None and not fresh:
            try:
                await draft.load(self._tree.bucket, self._tree.key(path), found)
            except BaseException:
                draft.close()
                raise
            if (other := self._drafts.get(path)) is not None:
                draft.close()
                other.users += 1
                return other
        self._drafts[path] = draft
        draft.users += 1
        return draft

    def _let_go(self, draft: Draft) -> None:
        draft.users -= 1
        if draft.users:
            return
        if draft.path is not None and self._drafts.get(draft.path) is draft:
            del self._drafts[draft.path]
            if draft.dirty:
                self.say(f"{self._tree.key(draft.path)} was not written: whoever closed it was told")
        draft.close()

    def _to_put(self, request: Request) -> bool:
        draft = self._file(fuse.handle_of(request)).draft
        return draft is not None and draft.dirty and draft.path is not None

    async def _put(self, draft: Draft | None) -> None:
        """Puts what was written, if it is not there as it is."""
        if draft is None:
            return
        async with draft.putting:
            if not draft.dirty or draft.path is None:
                return
            try:
                await self._tree.put(draft.path, draft)
            except BaseException:
                draft.lost = True
                raise

    def _new_handle(self, one: _Open) -> int:
        self._last_handle += 1
        self._open[self._last_handle] = one
        return self._last_handle

    def _file(self, handle: int) -> _Open:
        try:
            return self._open[handle]
        except KeyError:
            raise OSError(errno.EBADF, "no such open file") from None

    def _all_drafts(self) -> list[Draft]:
        return [*self._drafts.values(), *(one.draft for one in self._open.values() if one.draft is not None)]

    def _entry(self, path: str, found: Entry | Draft) -> bytes:
        return fuse.entry(self._attributes(self._nodes.number(path), found), valid_s=0)

    def _attributes(self, node: int, found: Entry | Draft) -> Attributes:
        """The kernel remembers none of it: only so all containers on this machine see a change at once."""
        keep = 0o555 if self._read_only else 0o777
        match found:
            case Folder():
                return Attributes(node=node, mode=stat.S_IFDIR | (0o755 & keep), owner=self._owner, links=2)
            case Draft():
                size, when_s = found.size, found.modified_s
            case Object():
                size, when_s = found.size, found.stored_s
        mode = stat.S_IFREG | (0o644 & keep)
        return Attributes(node=node, mode=mode, size=size, modified_s=when_s, owner=self._owner)

    def _errno_of(self, problem: Exception) -> int:
        match problem:
            case ObjectChangedError():
                return errno.ESTALE
            case BucketRefused():
                self.say(str(problem))
                return errno.EACCES
            case BucketFull():
                self.say(str(problem))
                return errno.ENOSPC
            case Error():
                self.say(str(problem))
                return errno.EIO
            case TimeoutError():
                self.say(f"the bucket's service has not answered for {_ANSWER_S:g} s")
                return errno.EIO
            case KeyError():
                return errno.ESTALE
            case fuse.MalformedError():
                return errno.EIO
            case _:
                return errno.ENOENT
