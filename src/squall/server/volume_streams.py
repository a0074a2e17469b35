"""Volume streams: what is asked of volumes, by clients, by machines that joined, and by code inside containers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from squall.blobs.digest import Digest, is_digest
from squall.model.deploy import MAIN_ENVIRONMENT, check_name
from squall.model.errors import EnvironmentNotFound, InvalidError
from squall.model.ids import COMMIT, CommitId, is_id
from squall.model.volume import check_volume_id, check_volume_name
from squall.server.house import House
from squall.server.records import Worker
from squall.server.volumes import Commit
from squall.state.volumes.records import VolumeVersion

Head = dict[str, Any]
Ask = Callable[[House, Head, Worker | None], Awaitable[Any]]

_LONGEST_WORDS: Final = 100


async def answer(house: House, head: Head, caller: Worker | None) -> Any:
    """What one of QUESTIONS is answered: a dict as the head of the answer, a list as its payload. Raises InvalidError for one that is not as it should be."""
    try:
        return await QUESTIONS[str(head["t"])](house, head, caller)
    except (KeyError, TypeError, ValueError) as wrong:
        raise InvalidError(f"the message {head['t']!r} is not as it should be: {wrong!r}") from wrong


async def open_volume(house: House, head: Head, caller: Worker | None) -> Any:
    """A volume by its name, and what it holds now; with `create` it is made where it is not there."""
    environment = await environment_of(house, head, caller)
    found = await house.volumes.find(
        environment, check_volume_name(head["name"]), create=bool(head.get("create"))
    )
    return {"volume": found.id, **told(await house.volumes.head(found.id))}


async def newest(house: House, head: Head, _caller: Worker | None) -> Any:
    """The newest version of a volume."""
    return told(await house.volumes.head(check_volume_id(head["volume"])))


async def commit(house: House, head: Head, _caller: Worker | None) -> Any:
    """Changes become a version of a volume; see `squall.server.volumes.Commit`."""
    changes, since = str(head["changes"]), str(head.get("since") or "")
    if not is_digest(changes) or (since and not is_digest(since)):
        raise InvalidError("changes are named by the digest of their manifest")
    base = head["base"]
    if type(base) is not int or base < 0:
        raise InvalidError(f"versions of a volume are counted 0, 1, 2: {base!r} is none")
    asked = Commit(
        volume=check_volume_id(head["volume"]),
        id=_commit_id(head),
        base=base,
        changes=Digest(changes),
        since=since,
        who=words(head.get("who")),
        why=words(head.get("why")),
    )
    return told(await house.volumes.commit(asked))


async def environment_of(house: House, head: Head, caller: Worker | None) -> str:
    """The environment that is meant: where none is named, that of the caller's own app. Raises EnvironmentNotFound, NameInvalid."""
    asked = str(head.get("environment") or "")
    environment = house.addressing.name_of(asked, "", caller).environment
    check_name("an environment", environment)
    if environment != MAIN_ENVIRONMENT:
        there = sorted({MAIN_ENVIRONMENT, *(one.name for one in await house.state.environments())})
        if environment not in there:
            raise EnvironmentNotFound(
                f"there is no environment {environment!r}; there is: {', '.join(there)}"
            )
    return environment


def told(version: VolumeVersion) -> dict[str, Any]:
    """A version, as whoever mounts it is told."""
    return {"version": version.number, "manifest": version.manifest}


def words(said: Any) -> str:
    """What is kept of words for people."""
    cut = "" if said is None else str(said)[:_LONGEST_WORDS]
    return "".join(sign if sign.isprintable() else "?" for sign in cut)


def _commit_id(head: Head) -> CommitId:
    given = str(head["id"])
    if not is_id(given, COMMIT):
        raise InvalidError(f"{given!r:.90} is no id of a commit")
    return CommitId(given)


QUESTIONS: Final[Mapping[str, Ask]] = {
    "volume.open": open_volume,
    "volume.head": newest,
    "volume.commit": commit,
}
