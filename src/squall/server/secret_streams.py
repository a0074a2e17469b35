"""Secret streams: what clients may ask of secrets. No answer has a value."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from squall.model.deploy import MAIN_ENVIRONMENT, check_name
from squall.model.errors import EnvironmentNotFound, InvalidError
from squall.model.ids import SECRET, SecretId, is_id
from squall.server.house import House
from squall.state.secret_records import SecretRecord

Head = dict[str, Any]
Ask = Callable[[House, Head, bytes], Awaitable[Any]]

_HOW: Final = frozenset({"new", "replace", "merge"})


async def rows(house: House, head: Head, _payload: bytes) -> list[Head]:
    """Every secret, of one environment where that is named."""
    environment = head.get("environment")
    if environment is not None:
        await _environment(house, head)
    return [_told(row) for row in house.vault.rows(environment)]


async def put(house: House, head: Head, payload: bytes) -> Head:
    """A version of a secret. head: `how`, and `id` of the version; payload: the variables and their values."""
    name = check_name("a secret", head.get("name"))
    environment = await _environment(house, head)
    how, version = head.get("how", "new"), str(head.get("id"))
    if how not in _HOW or not is_id(version, SECRET):
        raise InvalidError("the message 'secret.put' is not as it should be")
    try:
        values = json.loads(payload)
    except ValueError:
        # Not what was wrong with it: that would show a part.
        raise InvalidError("the variables of a secret came as no JSON") from None
    made = await house.vault.put((environment, name), values, how=how, version=SecretId(version))
    return _told(made)


async def delete(house: House, head: Head, _payload: bytes) -> Head:
    """A secret goes, with all its versions; containers that run keep what they have."""
    name = check_name("a secret", head.get("name"))
    environment = str(head.get("environment") or MAIN_ENVIRONMENT)
    await house.vault.delete((environment, name))
    return {"name": name, "environment": environment}


async def rotate(house: House, head: Head, _payload: bytes) -> Head:
    """Another master key than the one of the id `after`; without that, which it is."""
    if "after" not in head:
        return {"rewrapped": 0, "key": house.vault.master_key}
    return await house.vault.rotate(str(head["after"]))


async def _environment(house: House, head: Head) -> str:
    environment = check_name("an environment", head.get("environment") or MAIN_ENVIRONMENT)
    there = sorted({MAIN_ENVIRONMENT, *(one.name for one in await house.state.environments())})
    if environment not in there:
        raise EnvironmentNotFound(f"there is no environment {environment!r}; there is: {', '.join(there)}")
    return environment


def _told(row: SecretRecord) -> Head:
    return {
        "name": row.name,
        "environment": row.environment,
        "version": row.number,
        "variables": list(row.variables),
        "created_s": row.created_s,
    }


QUESTIONS: Final[Mapping[str, Ask]] = {
    "secret.list": rows,
    "secret.put": put,
    "secret.delete": delete,
    "secret.rotate": rotate,
}
