"""Secret objects: the secrets that have a name, made, listed, changed and deleted at the server."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from squall.context.fresh import fresh_id
from squall.model.deploy import check_name
from squall.model.errors import AlreadyExistsError, SecretNotFound
from squall.model.ids import SECRET
from squall.model.secret import check_variables
from squall.sdk.face import Face

S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretInfo:
    """What there is of a secret, but for its values. version: 1, 2, 3; created_s: of that version, in seconds since 1970."""

    name: str
    environment: str
    version: int
    variables: tuple[str, ...]
    created_s: float


class SecretObjects(Generic[S]):
    """The secrets that have a name: `create(name, values)`, `list()`, `delete(name)`, each with `.aio`."""

    def __init__(self, from_name: Callable[..., S]) -> None:
        self._from_name = from_name
        self.create = Face(self._create)
        self.list = Face(self._list)
        self.delete = Face(self._delete)

    async def _create(
        self,
        name: str,
        values: Mapping[str, str],
        *,
        allow_existing: bool = False,
        environment_name: str | None = None,
    ) -> S:
        """Makes a secret of these variables. allow_existing: leaves one as it is that is there already.

        Raises AlreadyExistsError, NameInvalid, InvalidError, EnvironmentNotFound.
        """
        try:
            await put(name, values, how="new", environment_name=environment_name)
        except AlreadyExistsError:
            if not allow_existing:
                raise
        return self._from_name(name, environment_name=environment_name)

    async def _list(self, *, environment_name: str | None = None) -> list[SecretInfo]:
        """Each by its name, of one environment. Raises EnvironmentNotFound."""
        frame = await _ask("secret.list", {"environment": _environment(environment_name)})
        return [info_of(row) for row in json.loads(bytes(frame.payload))]

    async def _delete(
        self, name: str, *, allow_missing: bool = False, environment_name: str | None = None
    ) -> None:
        """Removes one with all its versions; containers that run keep what they have. Raises SecretNotFound."""
        head = {"name": check_name("a secret", name), "environment": _environment(environment_name)}
        try:
            await _ask("secret.delete", head)
        except SecretNotFound:
            if not allow_missing:
                raise


async def put(
    name: str, values: Mapping[str, str], *, how: str, environment_name: str | None = None
) -> SecretInfo:
    """Sends a version of a secret: "new", "replace" or "merge". Raises what the server answers."""
    head = {
        "name": check_name("a secret", name),
        "environment": _environment(environment_name),
        "how": how,
        # Sent again as its answer was lost, it is the same version.
        "id": fresh_id(SECRET),
    }
    frame = await _ask("secret.put", head, json.dumps(check_variables(values)).encode())
    return info_of(json.loads(bytes(frame.payload)))


def update(name: str, environment: str) -> Callable[[Mapping[str, str]], Coroutine[Any, Any, None]]:
    """What sets variables of a secret, and leaves its others as they are."""

    async def work(values: Mapping[str, str]) -> None:
        await put(name, values, how="merge", environment_name=environment or None)

    return work


def info_of(row: Mapping[str, Any]) -> SecretInfo:
    """A secret as the server tells of it."""
    return SecretInfo(
        name=row["name"],
        environment=row["environment"],
        version=row["version"],
        variables=tuple(row["variables"]),
        created_s=row["created_s"],
    )


async def _ask(name: str, head: dict[str, Any], *payload: bytes) -> Any:
    # A container declares its secrets too, and asks nobody: each fork of a template would pay for a client.
    return await importlib.import_module("squall.sdk.lanes").ask(name, head, *payload)


def _environment(given: str | None) -> str:
    found = importlib.import_module("squall.sdk.environments").environment_of(given)
    return cast(str, found)
