"""Log redaction: what containers print, without the values of their secrets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from squall.model.ids import AppId
from squall.model.redaction import Redacted, Redactor

HELD_S: Final = 2.0
"""How long the end of what was printed is held back that may be the beginning of a value."""

Rows = list[list[Any]]


class LogRedaction:
    """Every stream of output whose end is held back. redactor: of an app, None where it has no secrets."""

    def __init__(self, redactor: Callable[[AppId], Redactor | None]) -> None:
        self._redactor = redactor
        self._held: dict[str, dict[str, Redacted]] = {}

    def take(self, app: AppId, who: str, rows: Rows, payload: memoryview) -> tuple[Rows, memoryview]:
        """The records that may be shown, of `who` printed them; all of them where the app has no secrets."""
        redactor = self._redactor(app)
        if redactor is None:
            return rows, payload
        shown: Rows = []
        texts: list[bytes] = []
        held = self._held.pop(who, {})
        at = 0
        for tag, size, when in rows:
            stream = held.get(tag)
            if stream is None or stream.redactor is not redactor:
                stream = Redacted(redactor, stream.close() if stream is not None else b"")
            held[tag] = stream
            text = stream.feed(bytes(payload[at : at + size]))
            at += size
            if text:
                shown.append([tag, len(text), when])
                texts.append(text)
        held = {tag: stream for tag, stream in held.items() if stream.holds}
        if held:
            self._held[who] = held
        return shown, memoryview(b"".join(texts))

    @property
    def holds_any(self) -> bool:
        """Whether something is held back at all."""
        return bool(self._held)

    def holds(self, who: str) -> bool:
        """Whether something of `who` is held back."""
        return who in self._held

    def let_go(self, who: str) -> tuple[Rows, memoryview]:
        """What was held back: nothing will complete it."""
        parts = [(tag, stream.close()) for tag, stream in self._held.pop(who, {}).items()]
        now_s = time.time()
        rows = [[tag, len(text), now_s] for tag, text in parts if text]
        return rows, memoryview(b"".join(text for _, text in parts))
