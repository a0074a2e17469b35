"""Volume streams: what is asked of volumes, by clients, by machines that joined, and by code inside containers."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from squall.blobs.digest import Digest, is_digest
from squall.blobs.edit import uploaded
from squall.model.errors import (
    AlreadyExistsError,
    InvalidError,
    NotFoundError,
    ResourceExhaustedError,
)
from squall.model.ids import COMMIT, CommitId, is_id
from squall.model.volume import LONGEST_WHY, MOST_LABELS, check_label, check_volume_id, check_volume_name
from squall.server import volume_files
from squall.server.askers import Asker
from squall.server.house import House
from squall.server.records import Worker
from squall.server.volumes import Commit
from squall.state.volumes.records import VolumeLabel, VolumeRecord, VolumeVersion

Head = dict[str, Any]
Told = tuple[Head, bytes]
Ask = Callable[[House, Head, Worker | None], Awaitable[Told]]

MOST_TOLD: Final = 1_000
"""Versions of one answer."""


async def answer(house: House, head: Head, payload: bytes, caller: Worker | None) -> Told:
    """The head and the payload of the answer to one of QUESTIONS. Raises InvalidError for one that is not as it should be.

    payload: paths, where the question has some, for there may be more of them than a head holds.
    """
    try:
        asked = {**head, "paths": json.loads(payload)} if payload else head
        return await QUESTIONS[str(head["t"])](house, asked, caller)
    except (KeyError, TypeError, ValueError) as wrong:
        raise InvalidError(f"the message {head['t']!r} is not as it should be: {wrong!r}") from wrong


async def open_volume(house: House, head: Head, caller: Worker | None) -> Told:
    """A volume by its name, and what it holds now; with `create` it is made where it is not there."""
    environment = await house.environments.meant(head.get("environment"), caller)
    name = check_volume_name(head["name"])
    found = await house.volumes.find(environment, name, create=bool(head.get("create")))
    return {"volume": found.id, **told(await house.volumes.head(found.id))}, b""


async def ephemeral(house: House, asker: Asker, head: Head) -> None:
    """A volume without a name, for as long as this stream lives."""
    of = check_volume_id(head.get("id"))
    stream = house.ephemeral_volumes.hold(asker, of)
    await house.volumes.make(VolumeRecord(id=of, created_s=time.time()))
    found = await house.volumes.head(of)
    if stream.live:
        stream.send({"opened": of, **told(found)})


async def newest(house: House, head: Head, _caller: Worker | None) -> Told:
    """The newest version of a volume."""
    return told(await house.volumes.head(check_volume_id(head["volume"]))), b""


async def commit(house: House, head: Head, caller: Worker | None) -> Told:
    """Changes become a version of a volume; see `squall.server.volumes.Commit`."""
    changes, since = str(head["changes"]), str(head.get("since") or "")
    if not is_digest(changes) or (since and not is_digest(since)):
        raise InvalidError("changes are named by the digest of their manifest")
    asked = commit_of(head, caller, base=_number(head["base"]), changes=Digest(changes), since=since)
    return told(await house.volumes.commit(asked)), b""


async def upload(house: House, head: Head, caller: Worker | None) -> Told:
    """The files of a layer come into a volume, whatever else has changed there; with `force` in the place of others."""
    changes = str(head["changes"])
    if not is_digest(changes):
        raise InvalidError("what is uploaded is named by the digest of its manifest")
    layer = await house.volumes.trees.get(Digest(changes))
    force = bool(head.get("force"))
    asked = commit_of(head, caller)
    return told(await house.volumes.change(asked, lambda tree: uploaded(tree, layer, force=force))), b""


async def free(house: House, head: Head, _caller: Worker | None) -> Told:
    """Nothing is at any of these paths, or the answer is that something is."""
    await volume_files.check_free(house.volumes, head)
    return {}, b""


async def edit(house: House, head: Head, caller: Worker | None) -> Told:
    """Paths are copied, moved or removed; see `squall.blobs.edit`."""
    change = volume_files.change_of(head)
    asked = commit_of(head, caller)
    return told(await house.volumes.change(asked, change)), b""


async def rollback(house: House, head: Head, caller: Worker | None) -> Told:
    """A version that holds what an earlier one did, as the newest."""
    of = check_volume_id(head["volume"])
    old = await house.volumes.version(of, _which(head["to"]))
    tree = await house.volumes.trees.get(Digest(old.manifest))
    asked = commit_of({**head, "why": f"back to version {old.number}"}, caller)
    return {**told(await house.volumes.change(asked, lambda _now: tree)), "back_to": old.number}, b""


async def rows(house: House, head: Head, caller: Worker | None) -> Told:
    """Every volume of an environment that has a name, or of all of them (`all`)."""
    environment = None if head.get("all") else await house.environments.meant(head.get("environment"), caller)
    found = [
        {
            "name": volume.name,
            "environment": volume.environment,
            "created_s": volume.created_s,
            "changed_s": version.at_s,
            "version": version.number,
            "entries": version.entries,
            "bytes": version.size_bytes,
        }
        for volume, version in await house.state.volumes()
        if volume.name and environment in {None, volume.environment}
    ]
    return {}, json.dumps(found).encode()


async def delete(house: House, head: Head, caller: Worker | None) -> Told:
    """A volume goes, with all its versions."""
    found = await _named(house, head, caller)
    await house.state.drop_volume(found.id)
    return {"volume": found.id}, b""


async def rename(house: House, head: Head, caller: Worker | None) -> Told:
    """A volume gets another name. Raises AlreadyExistsError."""
    found, to = await _named(house, head, caller), check_volume_name(head["to"])
    if not await house.state.rename_volume(found.id, to):
        raise AlreadyExistsError(
            f"there is a volume {to!r} already", remedy="choose another name, or delete that volume first"
        )
    return {"volume": found.id}, b""


async def history(house: House, head: Head, _caller: Worker | None) -> Told:
    """The versions that are kept, the newest first; `before`: of lower numbers than this."""
    of = check_volume_id(head["volume"])
    most = min(MOST_TOLD, max(1, int(head.get("most", MOST_TOLD))))
    before = head.get("before")
    found = await house.state.volume_history(
        of, most=most, before=None if before is None else _number(before)
    )
    if not found:
        await house.volumes.head(of)
    return {}, json.dumps([row_of(version) for version in found]).encode()


async def snapshot(house: House, head: Head, _caller: Worker | None) -> Told:
    """A version gets a name, and stays for as long as it has it. Raises AlreadyExistsError, VolumeVersionNotFound."""
    of, label = check_volume_id(head["volume"]), check_label(head["label"])
    version = await house.volumes.version(of, _which(head.get("version")))
    wanted = VolumeLabel(volume=of, label=label, number=version.number, at_s=time.time())
    if not await house.state.put_label(wanted, most=MOST_LABELS):
        held = await house.state.volume_label(of, label)
        if held is None:
            raise ResourceExhaustedError(
                f"{MOST_LABELS} versions of this volume have a name, which is as many as may",
                remedy="take some away with `squall volume snapshot NAME LABEL --delete`",
            )
        raise AlreadyExistsError(
            f"version {held.number} is called {label!r} already",
            remedy="choose another name, or take it away first",
        )
    return told(version), b""


async def unlabel(house: House, head: Head, _caller: Worker | None) -> Told:
    """The name of a version goes; the version stays for as long as one without a name does. Raises NotFoundError."""
    of, label = check_volume_id(head["volume"]), check_label(head["label"])
    if not await house.state.drop_label(of, label):
        await house.volumes.head(of)
        raise NotFoundError(
            f"no version of this volume is called {label!r}", remedy="look at `squall volume history NAME`"
        )
    return {}, b""


async def entries(house: House, head: Head, _caller: Worker | None) -> Told:
    """What lies in a directory, page by page."""
    return await volume_files.entries(house.volumes, head, _which(head.get("version")))


async def read(house: House, head: Head, _caller: Worker | None) -> Told:
    """A part of a file."""
    return await volume_files.read(house.volumes, house.blobs, head, _which(head.get("version")))


def commit_of(head: Head, caller: Worker | None, **what: Any) -> Commit:
    """What a message asks to be changed, and who does. what: fields that not every change has. Raises InvalidError."""
    given = str(head["id"])
    if not is_id(given, COMMIT):
        raise InvalidError(f"{given!r:.90} is no id of a commit")
    who = f"container {caller.id}" if caller is not None else words(head.get("who"))
    return Commit(
        volume=check_volume_id(head["volume"]),
        id=CommitId(given),
        who=who,
        why=words(head.get("why")),
        # A machine puts blobs with care; code in a container is not taken at its word.
        forced=caller is None and head.get("forced") is True,
        **what,
    )


def told(version: VolumeVersion) -> Head:
    """A version, as whoever mounts it is told."""
    return {"version": version.number, "manifest": version.manifest}


def row_of(version: VolumeVersion) -> Head:
    """A version, as its history tells of it."""
    return {
        "version": version.number,
        "parent": version.parent,
        "at_s": version.at_s,
        "who": version.who,
        "why": version.why,
        "entries": version.entries,
        "bytes": version.size_bytes,
        "labels": list(version.labels),
        "manifest": version.manifest,
    }


def words(said: Any) -> str:
    """What is kept of words for people."""
    cut = "" if said is None else str(said)[:LONGEST_WHY]
    return "".join(sign if sign.isprintable() else "?" for sign in cut)


async def _named(house: House, head: Head, caller: Worker | None) -> VolumeRecord:
    environment = await house.environments.meant(head.get("environment"), caller)
    return await house.volumes.find(environment, check_volume_name(head["name"]), create=False)


def _which(said: Any) -> int | str | None:
    """The version that is meant: by its number, by its name, or the newest. Raises InvalidError, NameInvalid."""
    return said if said is None else _number(said) if isinstance(said, int) else check_label(said)


def _number(said: Any) -> int:
    if type(said) is not int or not 0 <= said < 2**53:
        raise InvalidError(f"versions of a volume are counted 0, 1, 2: {said!r:.90} is none")
    return said


QUESTIONS: Final[Mapping[str, Ask]] = {
    "volume.open": open_volume,
    "volume.head": newest,
    "volume.commit": commit,
    "volume.upload": upload,
    "volume.free": free,
    "volume.edit": edit,
    "volume.rollback": rollback,
    "volume.list": rows,
    "volume.delete": delete,
    "volume.rename": rename,
    "volume.history": history,
    "volume.snapshot": snapshot,
    "volume.unlabel": unlabel,
    "volume.entries": entries,
    "volume.read": read,
}
