"""Secret store: the part of a state store that keeps sealed secrets, in a database or in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Protocol

from squall.model.ids import AppId, SecretId
from squall.state import secret_rows
from squall.state.group_commit import GroupCommit
from squall.state.readers import Readers
from squall.state.secret_records import Rewrapped, SecretRecord


class SecretStore(Protocol):
    """See `squall.state.state_store.StateStore`, whose promises hold here too. It has no key, and sees no value."""

    async def record_secret(self, secret: SecretRecord, *, keep: int) -> bool:
        """Records a version of a secret, or values that came with an app; whether it is new.

        Not where its name has this number, or a later one, already. Of a name the last `keep` versions stay.
        """
        ...

    async def secrets(self) -> tuple[SecretRecord, ...]:
        """Everything that is kept, by environment, name, number and id."""
        ...

    async def drop_secret(self, environment: str, name: str) -> bool:
        """Forgets every version of a secret; whether there was one."""
        ...

    async def drop_app_secrets(self, apps: Collection[AppId]) -> int:
        """Forgets the values that came with these apps; how many rows."""
        ...

    async def rewrap_secrets(self, items: Sequence[Rewrapped]) -> int:
        """Puts keys under another master key, all or none; how many were where they were thought to be."""
        ...


class RowSecrets:
    """A SecretStore in a database, whose writer and readers whoever inherits it has made."""

    _writer: GroupCommit
    _readers: Readers

    async def record_secret(self, secret: SecretRecord, *, keep: int) -> bool:
        return await self._writer.send(
            lambda db: secret_rows.put_secret(db, secret, keep), size=len(secret.sealed)
        )

    async def secrets(self) -> tuple[SecretRecord, ...]:
        return await self._readers.read(secret_rows.list_secrets)

    async def drop_secret(self, environment: str, name: str) -> bool:
        return await self._writer.send(lambda db: secret_rows.drop_secret(db, environment, name))

    async def drop_app_secrets(self, apps: Collection[AppId]) -> int:
        return await self._writer.send(lambda db: secret_rows.drop_of_apps(db, apps), rows=max(1, len(apps)))

    async def rewrap_secrets(self, items: Sequence[Rewrapped]) -> int:
        return await self._writer.send(
            lambda db: secret_rows.put_rewrapped(db, items), rows=max(1, len(items))
        )


class MemorySecrets:
    """A SecretStore in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self._secrets: dict[SecretId, SecretRecord] = {}

    def has_secrets(self, environment: str) -> bool:
        """Whether one has a name there."""
        return any(one.name and one.environment == environment for one in self._secrets.values())

    async def record_secret(self, secret: SecretRecord, *, keep: int) -> bool:
        self._open()
        same = [
            one
            for one in self._secrets.values()
            if secret.name and _is_of(one, secret.environment, secret.name)
        ]
        if secret.id in self._secrets or any(one.number >= secret.number for one in same):
            return False
        self._secrets[secret.id] = secret
        for one in same:
            if one.number <= secret.number - keep:
                del self._secrets[one.id]
        return True

    async def secrets(self) -> tuple[SecretRecord, ...]:
        self._open()
        return tuple(
            sorted(self._secrets.values(), key=lambda one: (one.environment, one.name, one.number, one.id))
        )

    async def drop_secret(self, environment: str, name: str) -> bool:
        self._open()
        gone = [one.id for one in self._secrets.values() if one.name and _is_of(one, environment, name)]
        for one in gone:
            del self._secrets[one]
        return bool(gone)

    async def drop_app_secrets(self, apps: Collection[AppId]) -> int:
        self._open()
        gone = [one.id for one in self._secrets.values() if one.app and one.app in apps]
        for one in gone:
            del self._secrets[one]
        return len(gone)

    async def rewrap_secrets(self, items: Sequence[Rewrapped]) -> int:
        self._open()
        found = [
            item
            for item in items
            if item.id in self._secrets and self._secrets[item.id].master == item.before
        ]
        for item in found:
            self._secrets[item.id] = replace(
                self._secrets[item.id], wrapped=bytes(item.wrapped), master=item.master
            )
        return len(found)

    def _open(self) -> None:
        raise NotImplementedError


def _is_of(one: SecretRecord, environment: str, name: str) -> bool:
    return one.environment == environment and one.name == name
