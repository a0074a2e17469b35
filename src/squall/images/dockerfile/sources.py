"""Sources: which paths of a context the source of a COPY names. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from squall.model.errors import InvalidError

_SPECIAL: Final = re.compile(r"[*?\[]")


def is_pattern(source: str) -> bool:
    """Whether a source may name several paths."""
    return _SPECIAL.search(source) is not None


def named_by(source: str) -> Callable[[str], bool]:
    r"""Whether a path is what a source names: each part of a pattern stands for one part of a path, by Go's rules.

    `*` and `?` are within a name, `[...]` takes `^` for all but these, and `\\` stands before what is meant itself. Raises
    InvalidError for brackets that are none.
    """
    plain = source.strip("/")
    if not is_pattern(source):
        return lambda path: path == plain
    try:
        parts = [re.compile(_as_regex(part), re.DOTALL) for part in plain.split("/")]
    except ValueError as wrong:
        raise InvalidError(
            f"the pattern {source!r} of a COPY means nothing: {wrong}",
            remedy="write a backslash before a letter of it that is meant itself",
        ) from None

    def is_named(path: str) -> bool:
        names = path.split("/")
        return len(names) == len(parts) and all(
            part.fullmatch(name) for part, name in zip(parts, names, strict=True)
        )

    return is_named


def _as_regex(part: str) -> str:
    out, rest = "", part
    while rest:
        char, rest = rest[0], rest[1:]
        if char == "*":
            out += ".*"
        elif char == "?":
            out += "."
        elif char == "[":
            letters, rest = _class(rest)
            out += letters
        elif char == "\\" and rest:
            out, rest = out + re.escape(rest[0]), rest[1:]
        else:
            out += re.escape(char)
    return out


def _class(rest: str) -> tuple[str, str]:
    """The letters that stand before the next `]`, as a regular expression has them, and what comes behind that."""
    out = "[^" if rest.startswith("^") else "["
    rest = rest.removeprefix("^")
    ranges = 0
    while not (ranges and rest.startswith("]")):
        first, rest = _letter(rest)
        last = first
        if rest.startswith("-"):
            last, rest = _letter(rest[1:])
        if last < first:
            raise ValueError(f"{first}-{last} ends before it begins")
        out += f"{re.escape(first)}-{re.escape(last)}"
        ranges += 1
    return f"{out}]", rest[1:]


def _letter(rest: str) -> tuple[str, str]:
    if rest.startswith("\\"):
        rest = rest[1:]
    elif rest[:1] in {"-", "]"}:
        raise ValueError(f"{rest[0]} stands in brackets where a letter is due")
    if not rest:
        raise ValueError("a bracket is not closed")
    return rest[0], rest[1:]
