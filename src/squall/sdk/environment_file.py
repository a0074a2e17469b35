"""Environment file: what an environment.yml, or a list of conda's package files, says. Pure but for the reading of it.

Of YAML it understands what such files are written in: scalars, lists, and the one mapping of pip's packages. Anything else is an
error that names its line; a file that means less than it says would build another environment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from squall.images.conda.channels import without_credentials
from squall.images.conda.nouns import PackageFile
from squall.model.errors import InvalidError
from squall.sdk.text_file import read_text

_EXPLICIT: Final = "@EXPLICIT"
_KEY = re.compile(r"(?P<key>[A-Za-z_][\w-]*)\s*:(?:\s+(?P<value>.*))?")
_ENTRY = re.compile(r"-(?:\s+(?P<text>.*))?")
_QUOTED = re.compile(r"'(?P<single>(?:[^']|'')*)'|\"(?P<double>[^\"\\]*)\"")
_BEYOND: Final = ("&", "*", "!", "|", ">", "{", "}", "[", "]", "%", "@", "`", "?")
_PASSED_OVER: Final = frozenset({"name", "prefix"})
# The keys by which conda-lock's and pixi's files are known.
_LOCKS: Final = frozenset({"metadata", "package", "environments"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentFile:
    """What a file says. packages: match specs; pip: lines as in a requirements file; explicit: addresses of package files."""

    channels: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    explicit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    indent: int
    text: str


def read_environment_file(path: str) -> EnvironmentFile:
    """What the file at `path` says. Raises SourceFileNotFound, and InvalidError that names the line that is not understood."""
    return environment_file(read_text(path), path)


def environment_file(text: str, path: str) -> EnvironmentFile:
    """What `text` says; path: for messages. Raises InvalidError."""
    lines = [line for line in (_line(number, raw) for number, raw in enumerate(text.splitlines(), 1)) if line]
    if any(line.text == _EXPLICIT for line in lines):
        return EnvironmentFile(explicit=_package_files(lines, path))
    found = _Reading(path).file(lines)
    if not found.packages and not found.pip:
        raise InvalidError(f"{path} names no package", remedy="list them below `dependencies:`")
    return found


def _package_files(lines: Sequence[_Line], path: str) -> tuple[str, ...]:
    found = tuple(line.text for line in lines if line.text != _EXPLICIT)
    for line in lines:
        if line.text != _EXPLICIT and PackageFile.of(line.text) is None:
            raise InvalidError(
                f"{path}, line {line.number}: {without_credentials(line.text)} is no address of a package file",
                remedy="make the list with `conda list --explicit --sha256`, or `micromamba env export --explicit`",
            )
    if not found:
        raise InvalidError(f"{path} lists no package file")
    return found


def _line(number: int, raw: str) -> _Line | None:
    """One line without its comment; None for one that says nothing."""
    text = _without_comment(raw.rstrip()).rstrip()
    body = text.lstrip(" ")
    if not body or (number == 1 and body == "---"):
        return None
    return _Line(number, len(text) - len(body), body)


def _without_comment(text: str) -> str:
    quote = ""
    for at, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and (at == 0 or text[at - 1] in " [,"):
            quote = letter
        elif letter == "#" and (at == 0 or text[at - 1] in " \t"):
            return text[:at]
    return text


class _Reading:
    """One environment.yml being read."""

    def __init__(self, path: str) -> None:
        self._path = path

    def file(self, lines: Sequence[_Line]) -> EnvironmentFile:
        channels: tuple[str, ...] = ()
        packages: tuple[str, ...] = ()
        pip: tuple[str, ...] = ()
        at = 0
        while at < len(lines):
            head = lines[at]
            found = _KEY.fullmatch(head.text)
            if head.indent or found is None:
                self._refuse(head)
            end = at + 1
            while end < len(lines) and (lines[end].indent or _ENTRY.fullmatch(lines[end].text)):
                end += 1
            below, key, value = lines[at + 1 : end], found["key"], (found["value"] or "").strip()
            match key:
                case "channels":
                    channels = self._list(head, value, below)
                case "dependencies":
                    packages, pip = self._dependencies(head, value, below)
                case _ if key in _PASSED_OVER and not below:
                    pass
                case _:
                    self._refuse_key(head, key)
            at = end
        return EnvironmentFile(channels=channels, packages=packages, pip=pip)

    def _dependencies(
        self, head: _Line, value: str, below: Sequence[_Line]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if not below:
            return self._list(head, value, below), ()
        packages: list[str] = []
        pip: tuple[str, ...] = ()
        for entry, inner in self._entries(head, value, below):
            mapping = _KEY.fullmatch(entry.text)
            if mapping is not None and mapping["key"] == "pip":
                pip += self._list(entry, (mapping["value"] or "").strip(), inner)
            elif inner:
                self._refuse(inner[0])
            else:
                packages.append(self._scalar(entry, entry.text))
        return tuple(packages), pip

    def _list(self, head: _Line, value: str, below: Sequence[_Line]) -> tuple[str, ...]:
        """A list of scalars, in one line in brackets or an entry a line."""
        if value.startswith("[") and value.endswith("]") and not below:
            return tuple(self._scalar(head, part) for part in _parted(value[1:-1]))
        found = []
        for entry, inner in self._entries(head, value, below):
            if inner:
                self._refuse(inner[0])
            found.append(self._scalar(entry, entry.text))
        return tuple(found)

    def _entries(
        self, head: _Line, value: str, below: Sequence[_Line]
    ) -> list[tuple[_Line, Sequence[_Line]]]:
        """The entries of a list, each with the lines that are deeper than it."""
        if value:
            self._refuse(head)
        found: list[tuple[_Line, list[_Line]]] = []
        for line in below:
            entry = _ENTRY.fullmatch(line.text)
            if line.indent == below[0].indent and entry is not None and entry["text"]:
                found.append((_Line(line.number, line.indent, entry["text"].strip()), []))
            elif line.indent > below[0].indent and found:
                found[-1][1].append(line)
            else:
                self._refuse(line)
        return [(entry, inner) for entry, inner in found]

    def _scalar(self, line: _Line, text: str) -> str:
        text = text.strip()
        quoted = _QUOTED.fullmatch(text)
        if quoted is not None:
            single = quoted["single"]
            return single.replace("''", "'") if single is not None else quoted["double"]
        if not text or text.startswith((*_BEYOND, "'", '"')) or ": " in text or text.endswith(":"):
            self._refuse(line)
        return text

    def _refuse(self, line: _Line) -> NoReturn:
        raise InvalidError(
            f"{self._path}, line {line.number}: `{without_credentials(line.text)}` is not understood: of YAML, an environment "
            "file here may have lists of packages and channels",
            remedy="write the list with an entry a line, or name the packages in `.micromamba_install(...)`",
        )

    def _refuse_key(self, line: _Line, key: str) -> NoReturn:
        if key in _LOCKS:
            raise InvalidError(
                f"{self._path} is a lock file of conda-lock or pixi, of which there are several forms",
                remedy="make a list of package files of it: `conda-lock render --kind explicit`, or "
                "`pixi workspace export conda-explicit-spec`",
            )
        instead = "use `.env({...})`" if key == "variables" else "take it out"
        raise InvalidError(
            f"{self._path}, line {line.number}: `{key}` is not understood; there may be name, channels and dependencies",
            remedy=instead,
        )


def _parted(text: str) -> list[str]:
    """The entries between the commas of a list in brackets."""
    parts, quote = [""], ""
    for letter in text:
        if letter == "," and not quote:
            parts.append("")
            continue
        if letter in "'\"" and (quote == letter or (not quote and not parts[-1].strip())):
            quote = "" if quote else letter
        parts[-1] += letter
    return [part for part in parts if part.strip()]
