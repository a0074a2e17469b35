"""Vault: the secrets of this server. On record they are sealed; here they are opened for the containers that they are for."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any, Final

from squall import faults
from squall.context.fresh import fresh_id
from squall.model.bucket_mount import BESIDE_KEYS, KEYS, BucketMount
from squall.model.deploy import MAIN_ENVIRONMENT
from squall.model.errors import (
    AlreadyExistsError,
    Error,
    FeatureUnavailable,
    InvalidError,
    ResourceExhaustedError,
    SecretNotFound,
    SecretUnreadable,
    SecretVariableMissing,
)
from squall.model.function import Function
from squall.model.ids import SECRET, AppId, SecretId
from squall.model.redaction import Redactor
from squall.model.secret import KEPT_VERSIONS, MOST_BYTES, MOST_SECRETS, SecretUse, check_variables
from squall.server.master_keys import MasterKeys
from squall.state.secret_records import Rewrapped, SecretRecord
from squall.state.secret_store import SecretStore

WORKSPACE: Final = "main"
"""So far there is one; what is sealed is bound to it."""
MOST_SEALED_BYTES: Final = 256 * 2**20
"""Of all secrets together: they are held in memory, as they are on record."""
UNCLAIMED_S: Final = 3600.0
"""How long values stay that came with an app of which nothing is known, as its client may come back."""

_KEY_ADDED = faults.declare(
    "secret.key_added", "a new master key seals, and what is on record is under the one before"
)
_REWRAPPED = faults.declare(
    "secret.rewrapped", "all that is on record is under the new master key, and the one before is still there"
)
_log = logging.getLogger("squall.server")

Values = dict[str, str]
Place = tuple[str, str]
"""An environment, and the name of a secret there."""


class Vault:
    """Every secret. Values are opened for as long as they are needed, but for those that an app that runs came with.

    changed: told when a secret that has a name is another one now.
    """

    def __init__(self, state: SecretStore, keys: MasterKeys) -> None:
        self.changed = _nobody
        self._state = state
        self._keys = keys
        self._named: dict[Place, list[SecretRecord]] = {}
        self._of_apps: dict[AppId, list[SecretRecord]] = {}
        self._came: dict[AppId, dict[str, Values]] = {}
        self._uses: dict[AppId, set[Place]] = {}
        self._unsaved: set[AppId] = set()
        self._hidden: dict[AppId, set[str]] = {}
        self._redactors: dict[AppId, Redactor] = {}
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Takes up what is on record, and a change of the master key that was broken off."""
        for row in await self._state.secrets():
            if row.name:
                self._named.setdefault((row.environment, row.name), []).append(row)
            else:
                self._of_apps.setdefault(row.app, []).append(row)
                self._uses.setdefault(row.app, set()).update(map(_place, row.uses))
        if not (self._named or self._of_apps):
            return
        try:
            self._keys.first(may_make=False)
            if self._keys.changing:
                _log.info("going on with the change of the master key")
                await self._rewrap()
        except Error as problem:
            _log.error("secrets cannot be read: %s", problem)

    # -- secrets that have a name

    def rows(self, environment: str | None = None) -> list[SecretRecord]:
        """The newest version of each secret, by environment and name."""
        return [
            versions[-1] for place, versions in sorted(self._named.items()) if environment in {None, place[0]}
        ]

    async def put(
        self, place: Place, values: Mapping[str, Any], *, how: str, version: SecretId
    ) -> SecretRecord:
        """Records a version of a secret: "new" where there is none, "replace", or "merge" over the one before.

        version: its id, by which one that is sent again is known. Raises AlreadyExistsError, SecretNotFound, InvalidError,
        ResourceExhaustedError, MasterKeyUnusable, and what the store raises.
        """
        async with self._lock:
            versions = self._named.get(place, [])
            for one in versions:
                if one.id == version:
                    return one
            if how == "new" and versions:
                raise AlreadyExistsError(
                    f"there is a secret {place[1]!r} in the environment {place[0]} already",
                    remedy=f"change it: `squall secret update {place[1]} VARIABLE`, or replace it with --force",
                )
            if how == "merge":
                values = {**self._open_values(self._newest(place)), **values}
            checked = check_variables(values)
            if not checked:
                raise InvalidError("a secret has one variable at least", remedy="name one")
            self._check_room(new=not versions, size=sum(map(len, checked.values())))
            made = self._seal(
                json.dumps(checked).encode(),
                SecretRecord(
                    id=version,
                    environment=place[0],
                    name=place[1],
                    number=versions[-1].number + 1 if versions else 1,
                    created_s=time.time(),
                    variables=tuple(sorted(checked)),
                    sealed=b"",
                    wrapped=b"",
                ),
            )
            await self._state.record_secret(made, keep=KEPT_VERSIONS)
            self._named[place] = [*versions, made][-KEPT_VERSIONS:]
        self._is_changed()
        return made

    async def delete(self, place: Place) -> None:
        """Forgets a secret with all its versions. Raises SecretNotFound."""
        async with self._lock:
            self._newest(place)
            self._remember_hidden(place)
            await self._state.drop_secret(*place)
            self._named.pop(place, None)
        self._is_changed()

    async def forget_environment(self, environment: str) -> None:
        """Forgets the secrets of an environment that is no more."""
        for place in [place for place in self._named if place[0] == environment]:
            await self.delete(place)

    # -- values that come with an app

    def take(self, app: AppId, values: Mapping[str, Any]) -> None:
        """Takes the values that an app brings, by their keys. Raises InvalidError, FeatureUnavailable."""
        if not values:
            return
        _sealing()
        came = {str(key): check_variables(one) for key, one in values.items()}
        known = self._values_of(app)
        if any(known.get(key) != one for key, one in came.items()):
            both = {**known, **came}
            if sum(len(value) for one in both.values() for value in one.values()) > MOST_BYTES:
                raise InvalidError(
                    f"the values of an app's secrets have more than {MOST_BYTES:,} bytes",
                    remedy="make secrets of them that have a name: `squall secret create`",
                )
            self._came[app] = both
            self._unsaved.add(app)
            self._redactors.pop(app, None)

    def used_by(self, function: Function, environment: str = "") -> Function:
        """Remembers what a function uses; the same function, with where its secrets are, and their variables as they are now.

        environment: that of secrets that name none.
        """
        function = _placed(function, environment or MAIN_ENVIRONMENT)
        places = {_place_of(use) for use in function.secrets if use.name}
        if not places <= self._uses.get(function.app, set()):
            self._uses.setdefault(function.app, set()).update(places)
            self._unsaved.add(function.app)
            self._redactors.pop(function.app, None)
        uses = tuple(self._described(use, function.app) for use in function.secrets)
        return function if uses == function.secrets else replace(function, secrets=uses)

    async def keep(self, app: AppId, environment: str) -> None:
        """Has what an app brought on record, sealed. Raises what the store raises, MasterKeyUnusable."""
        if app not in self._unsaved:
            return
        async with self._lock:
            values = self._values_of(app)
            made = self._seal(
                json.dumps(values).encode(),
                SecretRecord(
                    id=SecretId(fresh_id(SECRET)),
                    environment=environment or MAIN_ENVIRONMENT,
                    app=app,
                    created_s=time.time(),
                    variables=tuple(sorted(values)),
                    uses=tuple(sorted("/".join(place) for place in self._uses.get(app, ()))),
                    sealed=b"",
                    wrapped=b"",
                ),
            )
            await self._state.record_secret(made, keep=KEPT_VERSIONS)
            self._of_apps.setdefault(app, []).append(made)
            self._unsaved.discard(app)

    async def copy(self, old: AppId, new: AppId, environment: str) -> None:
        """Has a version of an app have the values that another one came with."""
        self.take(new, self._values_of(old))
        await self.keep(new, environment)

    async def forget(self, apps: Collection[AppId]) -> None:
        """Forgets what apps brought that have ended for good."""
        known = [app for app in apps if app in self._of_apps]
        for app in apps:
            self._of_apps.pop(app, None)
            self._came.pop(app, None)
            self._uses.pop(app, None)
            self._hidden.pop(app, None)
            self._redactors.pop(app, None)
            self._unsaved.discard(app)
        if known:
            await self._state.drop_app_secrets(known)

    async def sweep(self, apps: Collection[AppId], *, now_s: float) -> None:
        """Forgets what came with apps that are neither known here nor on record, for a while."""
        await self.forget(
            [
                app
                for app, rows in self._of_apps.items()
                if app not in apps and rows[-1].created_s < now_s - UNCLAIMED_S
            ]
        )

    # -- what containers are given, and what is hidden

    def check(self, function: Function) -> None:
        """Raises what `values_for` and `keys_for` would."""
        of_buckets = (mount.secret for mount in function.buckets if mount.secret is not None)
        for use in (*function.secrets, *of_buckets):
            self._values(function.app, use)

    def values_for(self, function: Function) -> Values:
        """The variables of a function's containers.

        Raises SecretNotFound, SecretVariableMissing, MasterKeyUnusable, SecretUnreadable.
        """
        found: Values = {}
        for use in function.secrets:
            found |= self._values(function.app, use)
        return found

    def keys_for(self, function: Function, mount: BucketMount) -> Values:
        """The variables with which a bucket of a function is opened, and no others; raises what `values_for` does."""
        values = {} if mount.secret is None else self._values(function.app, mount.secret)
        return {name: values[name] for name in (*KEYS, *BESIDE_KEYS) if name in values}

    def redactor(self, app: AppId) -> Redactor | None:
        """What hides the values that containers of an app may have; None where they have none."""
        known = self._redactors.get(app)
        if known is None and (self._uses.get(app) or app in self._came or app in self._of_apps):
            known = self._redactors[app] = Redactor(self._values_to_hide(app))
        return known or None

    # -- the master key

    async def rotate(self, after: str) -> dict[str, Any]:
        """Has another master key seal than the one of the id `after`, and puts what is on record under it; how much that was.

        Asked again as the answer was lost, or where that one is not in use, it changes nothing. Broken off, it goes on when the
        server starts. Raises MasterKeyUnusable, and what the store raises.
        """
        _sealing()
        async with self._lock:
            if self.master_key == after and not self._keys.changing:
                self._keys.add()
                faults.point(_KEY_ADDED)
            done = await self._rewrap() if self._keys.changing else 0
            return {"rewrapped": done, "key": self.master_key}

    @property
    def master_key(self) -> str:
        """The id of the key that seals, which is made where there is none yet. Raises MasterKeyUnusable."""
        return self._keys.first(may_make=not (self._named or self._of_apps)).id

    async def _rewrap(self) -> int:
        first, sealing = self._keys.first(may_make=False), _sealing()
        done = 0
        while old := [row for row in self._all() if row.master != first.id]:
            items = []
            for row in old:
                try:
                    wrapped = sealing.rewrap(
                        row.wrapped, self._keys.find(row.master).key, first.key, _belongs(row)
                    )
                except sealing.NotOpenedError:
                    raise _unreadable(row) from None
                items.append(Rewrapped(id=row.id, before=row.master, master=first.id, wrapped=wrapped))
            await self._state.rewrap_secrets(items)
            new = {item.id: item for item in items}
            self._take_rewrapped(new)
            done += len(new)
        faults.point(_REWRAPPED)
        self._keys.keep_first()
        return done

    def _take_rewrapped(self, new: Mapping[SecretId, Rewrapped]) -> None:
        for rows in (*self._named.values(), *self._of_apps.values()):
            for at, row in enumerate(rows):
                item = new.get(row.id)
                if item is not None:
                    rows[at] = replace(row, wrapped=item.wrapped, master=item.master)

    # -- opened and sealed

    def _values(self, app: AppId, use: SecretUse) -> Values:
        if use.key:
            found = self._values_of(app).get(use.key)
            if found is None:
                raise SecretNotFound("the values of a secret that came with the app are not here any more")
            return found
        row = self._newest(_place_of(use))
        values = self._open_values(row)
        missing = sorted(set(use.required) - values.keys())
        if missing:
            raise SecretVariableMissing(
                f"the secret {use.name!r} in the environment {row.environment} has no variable {', '.join(missing)}; it has: "
                f"{', '.join(row.variables)}",
                name=use.name,
                missing=missing,
            )
        return values

    def _newest(self, place: Place) -> SecretRecord:
        versions = self._named.get(place)
        if not versions:
            there = ", ".join(row.name for row in self.rows(place[0])) or "none"
            elsewhere = sorted(environment for environment, name in self._named if name == place[1])
            hint = f"; in {', '.join(elsewhere)} there is one of that name" if elsewhere else ""
            raise SecretNotFound(
                f"there is no secret {place[1]!r} in the environment {place[0]}; there is: {there}{hint}",
                name=place[1],
                environment=place[0],
            )
        return versions[-1]

    def _described(self, use: SecretUse, app: AppId) -> SecretUse:
        if use.key:
            try:
                came = self._values_of(app).get(use.key, {})
            except Error:
                return use  # who starts a container is told
            return replace(use, variables=tuple(sorted(came)) or use.variables)
        versions = self._named.get(_place_of(use), ())
        names = {name for row in versions for name in row.variables} | set(use.required)
        return replace(use, variables=tuple(sorted(names)))

    def _values_of(self, app: AppId) -> dict[str, Values]:
        """What came with an app, by key."""
        if app not in self._came:
            rows = self._of_apps.get(app, ())
            found: dict[str, Values] = {}
            for row in rows:
                found |= json.loads(self._opened(row))
            if not rows:
                return found
            self._came[app] = found
        return self._came[app]

    def _open_values(self, row: SecretRecord) -> Values:
        found: Values = json.loads(self._opened(row))
        return found

    def _values_to_hide(self, app: AppId) -> set[str]:
        """Values of now and before; those that were hidden once stay so, as containers may have them."""
        found = self._hidden.setdefault(app, set())
        try:
            for values in self._values_of(app).values():
                found |= set(values.values())
            for place in self._uses.get(app, ()):
                for row in self._named.get(place, ()):
                    found |= set(self._open_values(row).values())
        except Error as problem:
            _log.error("what is secret in the logs of %s is not known: %s", app, problem)
        return found

    def _remember_hidden(self, place: Place) -> None:
        """A secret goes: where containers have its values, these stay hidden."""
        for app, places in self._uses.items():
            if place in places:
                self._values_to_hide(app)

    def _is_changed(self) -> None:
        self._redactors.clear()
        self.changed()

    def _check_room(self, *, new: bool, size: int) -> None:
        if new and len(self._named) >= MOST_SECRETS:
            raise ResourceExhaustedError(
                f"there are {len(self._named):,} secrets, and no more may be",
                remedy="delete some that nobody needs",
            )
        if size + sum(len(row.sealed) for row in self._all()) > MOST_SEALED_BYTES:
            raise ResourceExhaustedError(
                f"all secrets together have more than {MOST_SEALED_BYTES:,} bytes",
                remedy="delete some that nobody needs, and put what is long into files",
            )

    def _all(self) -> Iterable[SecretRecord]:
        for rows in (*self._named.values(), *self._of_apps.values()):
            yield from rows

    def _opened(self, row: SecretRecord) -> bytes:
        sealing = _sealing()
        master = self._keys.find(row.master)
        try:
            found: bytes = sealing.open_sealed(row.sealed, row.wrapped, master.key, _belongs(row))
        except sealing.NotOpenedError:
            raise _unreadable(row) from None
        return found

    def _seal(self, values: bytes, row: SecretRecord) -> SecretRecord:
        sealing = _sealing()
        master = self._keys.first(may_make=not (self._named or self._of_apps))
        sealed, wrapped = sealing.seal(values, master.key, _belongs(row))
        return replace(row, sealed=sealed, wrapped=wrapped, master=master.id)


def _placed(function: Function, environment: str) -> Function:
    """A function with the environment of those of its secrets, and of its buckets', that name none."""

    def place(use: SecretUse) -> SecretUse:
        return replace(use, environment=environment) if use.name and not use.environment else use

    return replace(
        function,
        secrets=tuple(map(place, function.secrets)),
        buckets=tuple(
            one if one.secret is None else replace(one, secret=place(one.secret)) for one in function.buckets
        ),
    )


def _belongs(row: SecretRecord) -> bytes:
    """What a sealed row is bound to."""
    whose = ["squall secret", 1, WORKSPACE, row.environment, row.name, row.number, row.app, row.id]
    return json.dumps(whose).encode()


def _place(text: str) -> Place:
    environment, _, name = text.partition("/")
    return environment, name


def _place_of(use: SecretUse) -> Place:
    return use.environment or MAIN_ENVIRONMENT, use.name


def _unreadable(row: SecretRecord) -> SecretUnreadable:
    what = (
        f"version {row.number} of the secret {row.name!r}"
        if row.name
        else f"what came with the app {row.app}"
    )
    return SecretUnreadable(
        f"{what} cannot be opened: it was changed, or is not what its row says", name=row.name
    )


def _sealing() -> ModuleType:
    try:
        from squall.server import sealing
    except ImportError:
        raise FeatureUnavailable(
            "secrets need the package cryptography, which is not installed where the server runs",
            remedy="install it with `pip install 'squall[server]'`, and start the server again",
            feature="secrets",
        ) from None
    return sealing


def _nobody() -> None:
    """Nobody wants to know."""
