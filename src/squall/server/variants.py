"""Variants: functions of apps that run, made when they are first called with other options, each with containers of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from squall.model.errors import InvalidError, ResourceExhaustedError
from squall.model.ids import AppId, FunctionId
from squall.model.jsonable import to_json
from squall.model.parameters import POOL
from squall.model.variant import MARK, read_changes, varied
from squall.server.apps import Apps
from squall.server.records import AppRecord, FunctionRecord
from squall.state.state_store import StateStore

MOST_VARIANTS = 100

Content = dict[str, Any]


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
            own = known.function.name + MARK
            there = [name for name in app.functions if name.startswith(own) and POOL not in name]
            if len(there) >= MOST_VARIANTS:
                raise ResourceExhaustedError(
                    f"{known.function.name} has {len(there)} variants, and each has containers of its own",
                    remedy="call `with_options` with fewer different values",
                )
            (added,) = self._apps.add_functions(app, [to_json(function)])
            added.pickled, added.bounds = known.pickled, known.bounds
            if app.stream is not None and app.stream.live:
                # So that it says so too when it opens its app again: calls on record wait for it then.
                app.stream.send({"bound": to_json(function)})
        return function.name

    async def keep(self, function: FunctionId) -> None:
        """Has a variant of a deployed app on record, or a class with other parameters, before a call of it is. Raises what the store raises."""
        app, _, name = function.partition("/")
        record = self._apps.apps.get(AppId(app))
        if not {MARK, POOL} & set(name) or record is None or not record.version or function in self._kept:
            return
        described = to_json(record.functions[name].function)
        plain = {key: value for key, value in described.items() if key not in {"id", "app"}}
        async with self._keeping:
            if function not in self._kept and await self._change(
                AppId(app), partial(_with_variant, name, plain)
            ):
                self._kept.add(function)

    async def keep_scaling(self, records: Sequence[FunctionRecord]) -> None:
        """Has the bounds of functions of one deployed app on record, until it is deployed again. Raises what the store raises."""
        app = self._apps.apps.get(records[0].function.app)
        if app is None or not app.version:
            return
        for one in records:
            await self.keep(one.function.id)
        bounds = {one.function.name: to_json(one.function.scaling) for one in records}
        async with self._keeping:
            await self._change(app.id, lambda content: {"scaled": {**content.get("scaled", {}), **bounds}})

    async def _change(self, app: AppId, more: Callable[[Content], Content]) -> bool:
        """Changes a part of what a version is made of; whether it is on record."""
        version = await self._state.version(app)
        if version is None:
            return False
        content = json.loads(version.content)
        await self._state.set_version_content(
            app, json.dumps({**content, **more(content)}, ensure_ascii=False)
        )
        return True


def _with_variant(name: str, plain: Content, content: Content) -> Content:
    variants = {one["name"]: one for one in content.get("variants", ())}
    return {"variants": list({**variants, name: plain}.values())}
