"""Redaction: values taken out of what is printed, in the spellings in which programs print them. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterable
from typing import Any, Final

HIDDEN: Final = "****"
SHORTEST: Final = 4
"""Characters: a shorter value stands in too much that is no secret, such as a number, and is not hidden."""

_SHORTEST_LINE: Final = 12
_SHORTEST_INSIDE: Final = 8
_PLAIN_IN_URLS: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")


def forms_of(value: str) -> frozenset[bytes]:
    """The spellings of a value: as it is, its longer lines, escaped as in Python and JSON, for URLs, and in base64.

    Base64 also where it is a part of something longer, such as a name and a password; none for a value below SHORTEST.
    """
    if len(value) < SHORTEST:
        return frozenset()
    lines = [line for line in value.splitlines() if len(line) >= _SHORTEST_LINE] if "\n" in value else []
    forms: set[bytes] = set()
    for text in (value, *lines):
        data = text.encode("utf-8", "surrogateescape")
        forms |= {data, data.replace(b"\n", b"\r\n"), _escaped(repr(text)), _escaped(json.dumps(text))}
        forms |= {_escaped(json.dumps(text, ensure_ascii=False))}
        quoted = _quoted(data)
        forms |= {quoted, quoted.replace(b"%20", b"+"), quoted.replace(b"%2F", b"/"), _lower(quoted)}
        for whole in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
            forms |= {whole, whole.rstrip(b"=")}
        forms |= _inside_base64(data)
    return frozenset(form for form in forms if len(form) >= SHORTEST)


class Redactor:
    """Hides the spellings of some values. known: those values."""

    def __init__(self, values: Iterable[str]) -> None:
        self.known = frozenset(values)
        forms = sorted(
            {form for value in self.known for form in forms_of(value)}, key=lambda one: (-len(one), one)
        )
        self._pattern = re.compile(b"|".join(map(re.escape, forms))) if forms else None
        self._longest = max(map(len, forms), default=0)
        self._by_start: dict[int, list[bytes]] = {}
        for form in forms:
            self._by_start.setdefault(form[0], []).append(form)
        # One of these is in whatever has a form in it. To look for each alone takes a fraction of the pattern's time.
        self._marks = [
            form for at, form in enumerate(forms) if not any(shorter in form for shorter in forms[at + 1 :])
        ]

    def __bool__(self) -> bool:
        return self._pattern is not None

    def hide(self, data: bytes) -> bytes:
        """`data` with none of them in it."""
        if self._pattern is None or not self._is_in(data):
            return data
        return self._pattern.sub(HIDDEN.encode(), data)

    def _is_in(self, data: bytes) -> bool:
        return any(mark in data for mark in self._marks)

    def text(self, text: str) -> str:
        """The same of text."""
        data = text.encode("utf-8", "surrogatepass")
        hidden = self.hide(data)
        return text if hidden == data else hidden.decode("utf-8", "replace")

    def plain(self, value: Any, *, but: Collection[str] = ()) -> Any:
        """The same of every text in a value of JSON, other than keys, and what stands under the keys `but`."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.plain(one, but=but) for one in value]
        if isinstance(value, dict):
            return {key: one if key in but else self.plain(one, but=but) for key, one in value.items()}
        return value

    def whole_until(self, data: bytes) -> int:
        """Up to where nothing in `data` may be the beginning of one of them, and none of them is cut."""
        cut = len(data) - self._unfinished(data)
        if self._pattern is None or cut == len(data) or not self._is_in(data):
            return cut
        for found in self._pattern.finditer(data):
            if found.start() >= cut:
                break
            if found.end() > cut:
                return found.start()
        return cut

    def _unfinished(self, data: bytes) -> int:
        """How many bytes at the end may be the beginning of one of them."""
        for at in range(max(0, len(data) - self._longest + 1), len(data)):
            begin = self._by_start.get(data[at])
            if begin is not None:
                tail = data[at:]
                if any(len(form) > len(tail) and form.startswith(tail) for form in begin):
                    return len(tail)
        return 0


class Redacted:
    """One stream of output, whose end is held back while it may be the beginning of a value that the next write completes."""

    def __init__(self, redactor: Redactor, held: bytes = b"") -> None:
        self.redactor = redactor
        self._held = held

    @property
    def holds(self) -> bool:
        """Whether something is held back."""
        return bool(self._held)

    def feed(self, data: bytes) -> bytes:
        """What may be shown now."""
        whole = self._held + data
        cut = self.redactor.whole_until(whole)
        self._held = whole[cut:]
        return self.redactor.hide(whole[:cut])

    def close(self) -> bytes:
        """What was held back: nothing completes it."""
        held, self._held = self._held, b""
        return self.redactor.hide(held)


def _escaped(written: str) -> bytes:
    """What stands between the quotes."""
    return written[1:-1].encode("utf-8", "surrogateescape")


def _quoted(data: bytes) -> bytes:
    return b"".join(bytes([one]) if one in _PLAIN_IN_URLS else b"%%%02X" % one for one in data)


def _lower(quoted: bytes) -> bytes:
    return re.sub(rb"%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)


def _inside_base64(data: bytes) -> set[bytes]:
    """What base64 of something longer has of it, for each place that it may begin at: three bytes are four letters."""
    found = set()
    for before in (0, 1, 2):
        letters = base64.b64encode(b"\0" * before + data)
        # Letters at both ends hold bits of what stands beside it.
        first = -(-before * 8 // 6)
        inside = letters[first : (before + len(data)) * 8 // 6]
        if len(inside) >= _SHORTEST_INSIDE:
            found |= {inside, inside.translate(bytes.maketrans(b"+/", b"-_"))}
    return found
