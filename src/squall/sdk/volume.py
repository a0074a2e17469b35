"""Volume: files that containers and client programs share, each version of them kept as a whole."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from squall.context.fresh import fresh_id
from squall.model.deploy import check_name
from squall.model.errors import VolumeNotFound, VolumeNotMounted, VolumeReadOnly
from squall.model.ids import COMMIT, VOLUME
from squall.model.volume import (
    LONGEST_WHY,
    ROOT,
    VolumeMount,
    check_label,
    check_volume_name,
    inner_path,
    mount_path,
)
from squall.sdk.environments import environment_of
from squall.sdk.face import Face, ItemsFace, PagesFace
from squall.sdk.lanes import ask
from squall.sdk.shared_object import Ephemeral
from squall.sdk.volume_mounts import mounted
from squall.sdk.volume_upload import Upload
from squall.sdk.who import who_asks

_AHEAD: Final = 4
"""Parts of a file that are on their way at once."""


class FileType(StrEnum):
    """What is at a path of a volume."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """What is at a path of a volume. size in bytes; mtime: when it was changed last, in seconds since 1970; target: of a link."""

    path: str
    type: FileType
    size: int
    mtime: float
    mode: int
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of what lies in a directory of a version. directory: that one, links followed; None where a file was asked for."""

    entries: list[FileEntry]
    version: int
    directory: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeVersion:
    """What a volume held at one time. number: 0 is the empty one that it begins with. names: those that it was given.

    parent: the version whose place it took. made_s: in seconds since 1970. who, why: for people.
    """

    number: int
    parent: int
    made_s: float
    entries: int
    size_bytes: int
    who: str = ""
    why: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeInfo:
    """What there is of a volume. created_s, changed_s: in seconds since 1970. version: the number of its newest one."""

    name: str
    environment: str
    created_s: float
    changed_s: float
    version: int
    entries: int
    size_bytes: int


class Volume:
    """Files that containers and client programs share by a name. What was committed is on disk, and is seen whole or not at all.

    Volume.from_name(name, create_if_missing=False): a handle of one. Volume.ephemeral(): one for as long as a `with` lasts.
    Volume.objects.create(name), .list(), .rename(name, to), .delete(name): makes one, lists them, renames one, removes one.
    read_only(), with_mount_options(read_only=, sub_path=): how a function that mounts it gets it.
    commit(): in a container, makes what was written there a version of the volume; reload(): shows what others committed.
    batch_upload(force=False): for `with`: put_file(local, path) and put_directory(local, path) become one version at its end.
    listdir(path, recursive=False), iterdir(path, recursive=True): what lies in a directory. read_file(path): its bytes in parts.
    copy_files(paths, to, recursive=False), rename(path, to), remove_file(paths, recursive=False): as `cp`, `mv` and `rm`.
    history(): the versions that are kept. snapshot(name): gives the newest a name, and keeps it; forget_snapshot(name).
    rollback(to): has it hold what it did in a version, by its number or its name.
    Each method has an awaited form: `await v.listdir.aio("/")`, `async for part in v.read_file.aio(path)`.
    """

    objects: ClassVar[Volumes]

    def __init__(
        self,
        name: str | None = None,
        *,
        environment: str | None = None,
        create: bool = False,
        volume_id: str | None = None,
        options: tuple[bool, str] = (False, ROOT),
    ) -> None:
        self.name = name
        self._environment = environment
        self._create = create
        self._id = volume_id
        self._read_only, self._sub_path = options
        self.commit = Face(self._commit)
        self.reload = Face(self._reload)
        self.listdir = Face(self._listdir)
        self.iterdir = PagesFace(self._iterdir)
        self.read_file = ItemsFace(self._read_file)
        self.copy_files = Face(self._copy_files)
        self.rename = Face(self._rename)
        self.remove_file = Face(self._remove_file)
        self.history = Face(self._history)
        self.snapshot = Face(self._snapshot)
        self.forget_snapshot = Face(self._forget_snapshot)
        self.rollback = Face(self._rollback)

    def __repr__(self) -> str:
        return f"Volume({self.name or self._id!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Its name is all that travels, and where it is looked up, or its id where it has none; and how it is mounted."""
        of = None if self.name else self._id
        environment = self._environment
        if self.name and environment is None:
            # What is meant here, and not where it comes to; a container's own is known to the server.
            environment = environment_of(None) or None
        return _handle, (self.name, environment, self._create, of, (self._read_only, self._sub_path))

    @classmethod
    def from_name(
        cls,
        name: str,
        create_if_missing: bool = False,  # noqa: FBT001, FBT002 - as users know it
        *,
        environment_name: str | None = None,
    ) -> Volume:
        """The one of this name. It is looked for when it is first used, and then made where it may be and is missing.

        name: letters, digits and `._-`, 64 at most. environment_name: where it is (that of the app which mounts it, else
        SQUALL_ENVIRONMENT, else main). Raises NameInvalid; what is done first raises VolumeNotFound, EnvironmentNotFound.
        """
        checked = check_volume_name(name)
        environment = None if environment_name is None else check_name("an environment", environment_name)
        return cls(checked, environment=environment, create=create_if_missing)

    @classmethod
    def ephemeral(cls) -> Ephemeral[Volume]:
        """One without a name, for `with` or `async with`; it ends with that, and where this program ends, 10 s later.

        It may be passed to functions meanwhile.
        """
        return Ephemeral("volume.ephemeral", {}, prefix=VOLUME, handle=lambda of: Volume(volume_id=of))

    def read_only(self) -> Volume:
        """The same volume, which cannot be changed through this handle, nor where it is mounted."""
        return self.with_mount_options(read_only=True)

    def with_mount_options(self, *, read_only: bool | None = None, sub_path: str | None = None) -> Volume:
        """The same volume, mounted otherwise: only for reading, or only the directory `sub_path` of it.

        Raises VolumePathInvalid.
        """
        return Volume(
            self.name,
            environment=self._environment,
            create=self._create,
            volume_id=self._id,
            options=(
                self._read_only if read_only is None else bool(read_only),
                self._sub_path if sub_path is None else inner_path(sub_path),
            ),
        )

    def batch_upload(self, force: bool = False) -> Upload:  # noqa: FBT001, FBT002 - as users know it
        """For `with` or `async with`: files that are put into it become one version of the volume at its end, or none do.

        force: a file takes the place of one that is there; else that is VolumePathTaken, and nothing is changed.
        """
        self._check_writable()
        return Upload(self.opened, force=force)

    async def opened(self) -> str:
        """The volume's id. Raises VolumeNotFound."""
        if self._id is None:
            self._id = await self._found_in(environment_of(self._environment))
        return self._id

    async def _found_in(self, environment: str) -> str:
        head = {"name": self.name, "environment": environment, "create": self._create}
        return str((await ask("volume.open", head)).head()["volume"])

    async def mount_at(self, path: str, environment: str = "") -> VolumeMount:
        """What a function says that mounts this volume at `path`. environment: its app's, where the volume names none.

        Raises VolumePathInvalid, VolumeNotFound.
        """
        meant = self._id is None and self._environment is None and environment
        return VolumeMount(
            path=mount_path(path),
            volume=await self._found_in(environment) if meant else await self.opened(),
            read_only=self._read_only,
            sub_path=self._sub_path,
        )

    async def _commit(self) -> None:
        """Makes what this container has written a version of the volume; on disk when it returns.

        Of two containers that wrote the same file, the last commit wins; of all others nothing is lost. Raises
        VolumeNotMounted, VolumeReadOnly.
        """
        self._check_writable()
        mount = mounted(await self.opened())
        if mount is None:
            raise VolumeNotMounted(f"{self} is not mounted here")
        await mount.commit()

    async def _reload(self) -> None:
        """Shows, where the volume is mounted in this container, the newest version; what was written here is committed first.

        Raises VolumeBusy while files of it are open. Where it is not mounted, every look is at the newest version anyway.
        """
        mount = mounted(await self.opened())
        if mount is not None:
            await mount.reload()

    async def _listdir(
        self, path: str = "/", *, recursive: bool = False, version: int | str | None = None
    ) -> list[FileEntry]:
        """What lies in a directory, by name; of a file, itself. version: of an earlier one, by its number or its name.

        Raises VolumePathNotFound, VolumePathInvalid, VolumeVersionNotFound.
        """
        found: list[FileEntry] = []
        async for page in self._iterdir(path, recursive=recursive, version=version):
            found.extend(page)
        return found

    async def _iterdir(
        self, path: str = "/", *, recursive: bool = True, version: int | str | None = None
    ) -> AsyncIterator[Sequence[FileEntry]]:
        """What lies in a directory, one after the other; all of one version, whatever is committed meanwhile."""
        async for page in self._pages(path, recursive=recursive, version=version):
            yield page.entries

    async def _pages(
        self, path: str, *, recursive: bool, version: int | str | None = None
    ) -> AsyncIterator[Page]:
        """The same, page by page, on the client's loop."""
        head = {"volume": await self.opened(), "path": inner_path(path), "recursive": recursive}
        at = 0
        while True:
            frame = await ask("volume.entries", {**head, "version": version, "at": at})
            told = frame.head()
            version = int(told["version"])
            rows = json.loads(bytes(frame.payload))
            yield Page(entries=list(map(_entry, rows)), version=version, directory=told.get("directory"))
            if "next" not in told:
                return
            at = int(told["next"])

    async def _read_file(self, path: str, *, version: int | str | None = None) -> AsyncIterator[bytes]:
        """The bytes of a file, in parts of at most 1 MiB, all of one version.

        Raises VolumePathNotFound (which is a FileNotFoundError), VolumePathInvalid for what is no file.
        """
        async for part in self._file_parts(path, version=version):
            yield part

    async def _file_parts(self, path: str, *, version: int | str | None = None) -> AsyncIterator[bytes]:
        """The same, on the client's loop."""
        head: dict[str, Any] = {"volume": await self.opened(), "path": inner_path(path)}
        first = await ask("volume.read", {**head, "version": version, "start": 0})
        told, part = first.head(), bytes(first.payload)
        head["version"], size = int(told["version"]), int(told["size"])
        if part:
            yield part
        starts = iter(range(len(part), size, len(part))) if part else iter(())
        coming: deque[asyncio.Task[Any]] = deque()
        try:
            while True:
                while len(coming) < _AHEAD and (start := next(starts, None)) is not None:
                    coming.append(asyncio.ensure_future(ask("volume.read", {**head, "start": start})))
                if not coming:
                    return
                yield bytes((await coming.popleft()).payload)
        finally:
            for one in coming:
                one.cancel()

    async def _copy_files(
        self, src_paths: str | Iterable[str], dst_path: str, *, recursive: bool = False
    ) -> None:
        """Copies files of the volume, and with `recursive` directories, to `dst_path`, or into it where that is a directory.

        No byte is copied. Raises VolumePathNotFound, VolumePathTaken, VolumePathInvalid.
        """
        await self._edit("copy", _several(src_paths), dst_path, recursive=recursive)

    async def _rename(self, path: str, to: str) -> None:
        """Gives a file or a directory of the volume another path, or moves it into `to` where that is a directory.

        Raises VolumePathNotFound, VolumePathTaken, VolumePathInvalid.
        """
        await self._edit("move", [path], to)

    async def _remove_file(self, path: str | Iterable[str], *, recursive: bool = False) -> None:
        """Removes a file, or with `recursive` a directory and all that is in it; of several paths all, or none of them.

        Raises VolumePathNotFound, VolumePathInvalid.
        """
        await self._edit("remove", _several(path), recursive=recursive)

    async def _edit(
        self, do: str, paths: list[str], to: str | None = None, *, recursive: bool = False
    ) -> None:
        self._check_writable()
        head: dict[str, Any] = {"do": do, "recursive": recursive}
        if to is not None:
            head |= {"to": inner_path(to), "into": to.endswith("/")}
        why = f"{do} {', '.join(paths)}" + (f" to {to}" if to is not None else "")
        inner = json.dumps([inner_path(path) for path in paths]).encode()
        await ask("volume.edit", {**head, **await self._change(why[:LONGEST_WHY])}, inner)

    async def _history(self) -> list[VolumeVersion]:
        """The versions that are kept, the newest first."""
        found: list[VolumeVersion] = []
        head: dict[str, Any] = {"volume": await self.opened()}
        while True:
            rows = json.loads(bytes((await ask("volume.history", head)).payload))
            found += [
                VolumeVersion(
                    number=row["version"],
                    parent=row["parent"],
                    made_s=row["at_s"],
                    entries=row["entries"],
                    size_bytes=row["bytes"],
                    who=row["who"],
                    why=row["why"],
                    names=tuple(row["labels"]),
                )
                for row in rows
            ]
            if not rows or found[-1].number == 0:
                return found
            head["before"] = found[-1].number

    async def _snapshot(self, name: str, *, version: int | str | None = None) -> int:
        """Gives a version a name, the newest unless another one is meant, and keeps it as long as it has that; its number.

        Raises NameInvalid, AlreadyExistsError where another version has this name, VolumeVersionNotFound.
        """
        head = {"volume": await self.opened(), "label": check_label(name), "version": version}
        return int((await ask("volume.snapshot", head)).head()["version"])

    async def _forget_snapshot(self, name: str) -> None:
        """Takes a name away; the version stays for as long as one without a name does. Raises NotFoundError."""
        await ask("volume.unlabel", {"volume": await self.opened(), "label": check_label(name)})

    async def _rollback(self, to: int | str) -> int:
        """Has the volume hold what it did in an earlier version, by its number or its name, as a new version; its number.

        Raises VolumeVersionNotFound.
        """
        self._check_writable()
        head = await ask("volume.rollback", {**await self._change(""), "to": to})
        return int(head.head()["version"])

    async def _change(self, why: str) -> dict[str, Any]:
        """What says which change of which volume this is; sent again, it is the same one."""
        return {"volume": await self.opened(), "id": fresh_id(COMMIT), "who": who_asks(), "why": why}

    def _check_writable(self) -> None:
        if self._read_only:
            raise VolumeReadOnly(f"{self} is used for reading only")


class Volumes:
    """The volumes that there are: `create(name)`, `list()`, `rename(name, to)`, `delete(name)`, each with `.aio`."""

    def __init__(self) -> None:
        self.create = Face(self._create)
        self.list = Face(self._list)
        self.rename = Face(self._rename)
        self.delete = Face(self._delete)

    async def _create(self, name: str, *, environment_name: str | None = None) -> Volume:
        """The one of this name, made where there is none. Raises NameInvalid, ResourceExhaustedError."""
        made = Volume.from_name(name, create_if_missing=True, environment_name=environment_name)
        await made.opened()
        return made

    async def _list(self, *, environment_name: str | None = None) -> list[VolumeInfo]:
        """Each that has a name, by its name."""
        frame = await ask("volume.list", {"environment": environment_of(environment_name)})
        return [
            VolumeInfo(
                name=row["name"],
                environment=row["environment"],
                created_s=row["created_s"],
                changed_s=row["changed_s"],
                version=row["version"],
                entries=row["entries"],
                size_bytes=row["bytes"],
            )
            for row in json.loads(bytes(frame.payload))
        ]

    async def _rename(self, name: str, to: str, *, environment_name: str | None = None) -> None:
        """Gives a volume another name; who mounts it has it still. Raises VolumeNotFound, AlreadyExistsError, NameInvalid."""
        head = {"name": check_volume_name(name), "to": check_volume_name(to)}
        await ask("volume.rename", {**head, "environment": environment_of(environment_name)})

    async def _delete(
        self, name: str, *, allow_missing: bool = False, environment_name: str | None = None
    ) -> None:
        """Removes a volume with all its versions. Raises VolumeNotFound."""
        head = {"name": check_volume_name(name), "environment": environment_of(environment_name)}
        try:
            await ask("volume.delete", head)
        except VolumeNotFound:
            if not allow_missing:
                raise


def _handle(
    name: str | None,
    environment: str | None,
    create: bool,  # noqa: FBT001 - as `__reduce__` says it
    of: str | None,
    options: tuple[bool, str],
) -> Volume:
    return Volume(name, environment=environment, create=create, volume_id=of, options=options)


def _several(paths: str | Iterable[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)


def _entry(row: dict[str, Any]) -> FileEntry:
    return FileEntry(
        path=row["path"],
        type=FileType(row["kind"]),
        size=row["size"],
        mtime=row["mtime_s"],
        mode=row["mode"],
        target=row.get("target", ""),
    )


Volume.objects = Volumes()
