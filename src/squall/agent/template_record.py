"""Template record: what this node remembers of its templates, in one small file that outlives every process."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from squall.model.function import Function
from squall.model.jsonable import to_json
from squall.scheduling.template_order import Remembered, coldest_out

_log = logging.getLogger("squall.agent")
FORMAT = 1
MOST_ROWS = 256
MOST_MODULES = 64
_MOST_BYTES = 4 * 2**20
_LONGEST = 256
_LONGEST_MODULE = 64
_TOO_MUCH = 2**60
# What a template is made of. Times, retries and bounds may change without it being another.
_MADE_OF = ("code", "image", "client_python", "env", "limits", "level", "block_network", "gpu", "secrets")


def version_of(function: Function) -> str:
    """What tells one version of a function from every other of its app and name: its code, image, environment, limits."""
    made_of = {name: to_json(getattr(function, name)) for name in _MADE_OF}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def family_of(app: str, function: Function) -> str:
    """What all versions of a function have in common that may use the same packages: everything but its code."""
    made_of = [app, function.name, *(to_json(getattr(function, name)) for name in _MADE_OF if name != "code")]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


class TemplateRecord:
    """The rows of the record, by names and version. What cannot be read is forgotten; what cannot be written is said once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = {_key(row): row for row in _read(path)}
        self._changed = False
        self._mute = False

    @property
    def rows(self) -> tuple[Remembered, ...]:
        """All that is remembered."""
        return tuple(self._rows.values())

    def started(self, named: Remembered, now_s: float) -> None:
        """A container was started from the template that is named so."""
        self._put(self._known(named).started(now_s), now_s)

    def ready(self, named: Remembered, told: dict[str, Any], size: int, now_s: float) -> None:
        """The template that is named so is ready: `told` has "seconds" and "modules", as user code may have changed them."""
        seconds = told.get("seconds")
        load_s = float(seconds) if isinstance(seconds, int | float) and _is_amount(seconds) else 0.0
        self._put(
            replace(
                self._known(named),
                refused=False,
                load_s=load_s,
                bytes=size,
                modules=_modules(told.get("modules")),
            ),
            now_s,
        )

    def refused(self, named: Remembered, now_s: float) -> None:
        """There is none for this version."""
        self._put(replace(self._known(named), refused=True), now_s)

    def save(self) -> None:
        """Writes it, if anything has changed."""
        if not self._changed:
            return
        self._changed = False
        fresh = self._path.with_suffix(".new")
        text = json.dumps({"format": FORMAT, "templates": [asdict(row) for row in self._rows.values()]})
        try:
            fresh.write_text(text, encoding="utf-8")
            os.replace(fresh, self._path)
        except OSError as problem:
            if not self._mute:
                _log.warning("which templates were worth it cannot be kept: %s", problem)
            self._mute = True

    def _known(self, named: Remembered) -> Remembered:
        return self._rows.get(_key(named), named)

    def _put(self, row: Remembered, now_s: float) -> None:
        if max(map(len, _key(row))) > _LONGEST:
            return
        self._rows[_key(row)] = row
        self._changed = True
        if len(self._rows) > MOST_ROWS:
            # The newest has not had its starts yet: it is the last one to go.
            others = tuple(one for one in self.rows if _key(one) != _key(row))
            kept = (*coldest_out(others, most=MOST_ROWS - 1, now_s=now_s), row)
            self._rows = {_key(one): one for one in kept}


def _read(path: Path) -> tuple[Remembered, ...]:
    """What the file says, as far as it makes sense; nothing where there is none, or where it is something else."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MOST_BYTES + 1)
        found = json.loads(text) if len(text) <= _MOST_BYTES else {}
        rows = found["templates"] if found["format"] == FORMAT else []
        return tuple(row for row in map(_row, rows[:MOST_ROWS]) if row is not None)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        _log.info("which templates were worth it is not known: %s: %s", type(problem).__name__, problem)
        return ()


def _row(plain: Any) -> Remembered | None:
    if not isinstance(plain, dict):
        return None
    names = [plain.get(name) for name in ("app", "function", "version")]
    amounts = [plain.get(name, 0) for name in ("starts", "used_s", "load_s", "bytes")]
    if not all(isinstance(name, str) and len(name) <= _LONGEST for name in names):
        return None
    if not all(map(_is_amount, amounts)):
        return None
    return Remembered(
        app=str(names[0]),
        function=str(names[1]),
        version=str(names[2]),
        starts=float(amounts[0]),
        used_s=float(amounts[1]),
        load_s=float(amounts[2]),
        bytes=int(amounts[3]),
        modules=_modules(plain.get("modules")),
        refused=plain.get("refused") is True,
    )


def _modules(plain: Any) -> tuple[str, ...]:
    """Names of modules; whoever says them may have run user code."""
    if not isinstance(plain, list | tuple):
        return ()
    return tuple(name for name in plain if isinstance(name, str) and len(name) <= _LONGEST_MODULE)[
        :MOST_MODULES
    ]


def _is_amount(plain: Any) -> bool:
    return isinstance(plain, int | float) and not isinstance(plain, bool) and 0 <= plain < _TOO_MUCH


def _key(row: Remembered) -> tuple[str, str, str]:
    return row.app, row.function, row.version
