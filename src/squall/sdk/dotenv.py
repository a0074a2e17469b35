r"""Dotenv: files of lines NAME=value, found and read.

A line is empty, a comment that begins with `#`, or NAME=value, with `export` before it or not. A value without quotes ends
where a space and `#` stand, or with the line; blanks around it are left out. In single quotes each character stands for
itself; in double quotes `\n`, `\r`, `\t`, `\"`, `\\` and `\$` are what they are in a shell. Both may go over several
lines. A name without `=` has no value, and is left out. Nothing is put in the place of `$NAME`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from squall.model.errors import InvalidError
from squall.model.secret import MOST_BYTES

_BLANK: Final = re.compile(r"(?:[ \t]*(?:#[^\n]*)?(?:\n|\Z))")
_NAME: Final = re.compile(r"[ \t]*(?:export[ \t]+)?([^\s=#'\"]+)[ \t]*")
_SINGLE: Final = re.compile(r"'([^']*)'")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PLAIN: Final = re.compile(r"[^\n]*?(?=[ \t]+#|[ \t]*(?:\n|\Z))")
_REST: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_MEANS: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def find_dotenv(path: str | os.PathLike[str] | None, filename: str) -> Path:
    """The nearest file of this name, from a directory, or that of a file, upward. Raises InvalidError."""
    start = Path(os.path.abspath(path)) if path is not None else Path.cwd()
    directory = start.parent if start.is_file() else start
    for place in (directory, *directory.parents):
        if (place / filename).is_file():
            return place / filename
    raise InvalidError(
        f"there is no file {filename!r} in {directory}, nor in a directory above it",
        remedy="make it, or say where it is: `Secret.from_dotenv(PATH, filename=...)`",
    )


def read_dotenv(path: Path) -> dict[str, str]:
    """The variables of a file. Raises InvalidError, which has no line of it."""
    try:
        data = path.read_bytes()
        text = data.decode()
    except OSError as problem:
        raise InvalidError(f"{path} cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidError(f"{path} is no text in UTF-8") from None
    if len(data) > MOST_BYTES:
        raise InvalidError(f"{path} has {len(data):,} bytes, and a secret at most {MOST_BYTES:,}")
    return parse_dotenv(text, where=str(path))


def parse_dotenv(text: str, *, where: str) -> dict[str, str]:
    """The variables of such lines; of a name that comes twice the last. where: names the source. Raises InvalidError with the line's number."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        blank = _BLANK.match(text, at)
        if blank is not None and blank.end() > at:
            at = blank.end()
            continue
        name = _NAME.match(text, at)
        if name is None:
            raise _not_understood(text, at, where, "it begins with no name")
        value, end = _value(text, name.end(), where)
        rest = _REST.match(text, end)
        if rest is None:
            raise _not_understood(text, end, where, "something follows the value")
        if value is not None:
            found[name[1]] = value
        at = rest.end() if rest.end() > at else len(text)
    return found


def _value(text: str, at: int, where: str) -> tuple[str | None, int]:
    """The value behind a name, None for none, and where it ends."""
    if text[at : at + 1] != "=":
        return None, at
    at += 1
    while text[at : at + 1] in {" ", "\t"}:
        at += 1
    quote = text[at : at + 1]
    if quote not in {"'", '"'}:
        # A value that begins with `#` behind blanks is a comment, and the value empty.
        if quote == "#" and text[at - 1] != "=":
            return "", at
        plain = _PLAIN.match(text, at)
        assert plain is not None
        return plain[0], plain.end()
    quoted = (_SINGLE if quote == "'" else _DOUBLE).match(text, at)
    if quoted is None:
        raise _not_understood(text, at, where, f"a {quote} is not closed")
    inside = quoted[1]
    if quote == '"':
        inside = _ESCAPED.sub(lambda one: _MEANS.get(one[1], one[0]), inside)
    return inside, quoted.end()


def _not_understood(text: str, at: int, where: str, why: str) -> InvalidError:
    line = text.count("\n", 0, at) + 1
    return InvalidError(
        f"{where}, line {line}: {why}", remedy="write NAME=value, and quotes around a value of several lines"
    )
