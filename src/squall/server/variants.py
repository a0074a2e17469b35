"""Variants: functions of apps that run, made when they are first called with other options, each with containers of its own."""

from __future__ import annotations

import asyncio
import json

from squall.model.errors import InvalidError, ResourceExhaustedError
from squall.model.ids import AppId, FunctionId
from squall.model.jsonable import to_json
from squall.model.variant import MARK, read_changes, varied
from squall.server.apps import Apps
from squall.server.records import AppRecord, FunctionRecord
from squall.state.state_store import StateStore

MOST_VARIANTS = 100


class Variants:
    """Every variant. They end with their app; those of deployed ones that have calls on record are there after a restart."""

    def __init__(self, apps: Apps, state: StateStore) -> None:
        self._apps = apps
        self._state = state
        self._kept: set[FunctionId] = set()
        self._keeping = asyncio.Lock()

    def find(self, base: FunctionId, text: str) -> FunctionId:
        """The variant of a function, which is made where there is none. Raises InvalidError, ResourceExhaustedError."""
        app = self._apps.apps.get(AppId(base.partition("/")[0]))
        known = app.functions.get(base.partition("/")[2]) if app is not None else None
        if app is None or known is None:
            return base  # what calls it finds that it is not there, and says so
        asked = f"{known.function.name}?{text}"
        name = app.variants.get(asked)
        if name is None:
            name = app.variants[asked] = self._make(app, known, text)
        return app.functions[name].function.id

    def _make(self, app: AppRecord, known: FunctionRecord, text: str) -> str:
        if MARK in known.function.name:
            raise InvalidError(f"{known.function.name} is a variant, and has none itself")
        function = varied(known.function, read_changes(text))
        if function.name not in app.functions:
            there = [name for name in app.functions if name.startswith(known.function.name + MARK)]
            if len(there) >= MOST_VARIANTS:
                raise ResourceExhaustedError(
                    f"{known.function.name} has {len(there)} variants, and each has containers of its own",
                    remedy="call `with_options` with fewer different values",
                )
            (added,) = self._apps.add_functions(app, [to_json(function)])
            added.pickled, added.bounds = known.pickled, known.bounds
        return function.name

    async def keep(self, function: FunctionId) -> None:
        """Has a variant of a deployed app on record, before a call of it is. Raises what the store raises."""
        app, _, name = function.partition("/")
        record = self._apps.apps.get(AppId(app))
        if MARK not in name or record is None or not record.version or function in self._kept:
            return
        async with self._keeping:
            version = await self._state.version(AppId(app))
            if version is None or function in self._kept:
                return
            content = json.loads(version.content)
            variants = {one["name"]: one for one in content.get("variants", ())}
            described = to_json(record.functions[name].function)
            variants[name] = {key: value for key, value in described.items() if key not in {"id", "app"}}
            content["variants"] = list(variants.values())
            await self._state.set_version_content(AppId(app), json.dumps(content, ensure_ascii=False))
            self._kept.add(function)
