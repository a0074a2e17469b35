"""Which paths do not ship: the rules of ignore files, as git and docker read them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

# What is never source, whatever it is called in no ignore file. A `.squallignore` can take back each of them.
BUILT_IN: Final = """
.git
.hg
.svn
.jj
__pycache__
*.py[cod]
.venv
.tox
.nox
.eggs
.mypy_cache
.pytest_cache
.ruff_cache
.hypothesis
.pytype
.ipynb_checkpoints
.coverage
htmlcov
.cache
node_modules
.npm
.yarn
.pnpm-store
.next
.turbo
.parcel-cache
.gradle
.terraform
.idea
.DS_Store
Thumbs.db
*.swp
*~
.squall-env
"""
_POSIX_CLASSES: Final = {
    "alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "digit": "0-9", "lower": "a-z", "upper": "A-Z",
    "space": r" \t\n\r\f\v", "blank": r" \t", "xdigit": "0-9a-fA-F", "cntrl": r"\x00-\x1f\x7f",
    "graph": r"\x21-\x7e", "print": r"\x20-\x7e", "punct": r"!-/:-@\[-`{-~",
}  # fmt: skip
_NEVER: Final = r"(?!)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of an ignore file. file and line: where it stands; line 0 for a built-in one."""

    text: str
    file: str
    line: int
    pattern: str
    takes_back: bool = False
    directories_only: bool = False
    by_name: bool = False
    regex: re.Pattern[str] = field(compare=False)

    def __str__(self) -> str:
        where = f"line {self.line} of {self.file}" if self.line else self.file
        return f"`{self.text}` ({where})"


class RuleSet:
    """The rules of one ignore file, of which the last that matches decides.

    base: the directory that they are relative to, from the root of the walk; "" is the root. above: where the base lies
    above the root, the path from it to the root, with a slash at its end. With `parents`, a rule that matches a
    directory matches all below it (docker's way; with git a directory that is out is never entered).
    """

    __slots__ = ("_any_name", "_any_path", "_cut", "above", "parents", "rules", "takes_back")

    def __init__(
        self, rules: Iterable[Rule], *, base: str = "", above: str = "", parents: bool = False
    ) -> None:
        self.rules = tuple(rules)
        self.above = above
        self.parents = parents
        self.takes_back = any(rule.takes_back for rule in self.rules)
        self._cut = len(base) + 1 if base else 0
        # One look tells for nearly every path that no rule is about it.
        self._any_name = _any_of(rule.pattern for rule in self.rules if rule.by_name)
        self._any_path = _any_of(rule.pattern for rule in self.rules if not rule.by_name)

    def decides(self, path: str, name: str, *, is_directory: bool) -> Rule | None:
        """The rule that decides on a path (from the root of the walk; name: its last part), if one does."""
        if self.parents:
            return self._decides_with_parents(path)
        own = self.above + path[self._cut :]
        by_name = self._any_name is not None and self._any_name.fullmatch(name)
        if not by_name and not (self._any_path is not None and self._any_path.fullmatch(own)):
            return None
        return self._last_match(own, name, is_directory=is_directory)

    def _last_match(self, path: str, name: str, *, is_directory: bool) -> Rule | None:
        for rule in reversed(self.rules):
            if rule.directories_only and not is_directory:
                continue
            if rule.regex.fullmatch(name if rule.by_name else path):
                return rule
        return None

    def _decides_with_parents(self, path: str) -> Rule | None:
        names = path.split("/")
        paths = ["/".join(names[:count]) for count in range(1, len(names) + 1)]
        for rule in reversed(self.rules):
            if any(rule.regex.fullmatch(each) for each in paths):
                return rule
        return None


@dataclass(frozen=True, slots=True)
class Rules:
    """Rule sets in order of their say, the strongest first."""

    sets: tuple[RuleSet, ...]

    def ignoring(self, path: str, name: str, *, is_directory: bool) -> Rule | None:
        """The rule because of which a path does not ship; None where it ships."""
        for each in self.sets:
            rule = each.decides(path, name, is_directory=is_directory)
            if rule is not None:
                return None if rule.takes_back else rule
        return None

    def may_ship_below(self, rule: Rule) -> bool:
        """Whether a directory that `rule` ignores must be entered all the same: docker takes back paths below it."""
        return any(each.parents and each.takes_back and rule in each.rules for each in self.sets)


def git_rules(text: str, *, file: str) -> Iterator[Rule]:
    """The rules of a `.gitignore` or `.squallignore`; lines that git would never match with are left out."""
    for number, raw in enumerate(text.splitlines(), 1):
        line = _without_trailing_spaces(raw)
        takes_back = line.startswith("!")
        body = line[1:] if takes_back else line
        if not body or line.startswith("#"):
            continue
        directories_only = body.endswith("/")
        body = body.removesuffix("/")
        by_name = "/" not in body
        pattern = _glob(body.removeprefix("/"))
        if body:
            yield Rule(
                text=line, file=file, line=number, pattern=pattern, takes_back=takes_back,
                directories_only=directories_only, by_name=by_name, regex=re.compile(pattern, re.DOTALL),
            )  # fmt: skip


def docker_rules(text: str, *, file: str) -> Iterator[Rule]:
    """The rules of a `.dockerignore`: each is relative to the root, and may match a directory for all below it."""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        takes_back = line.startswith("!")
        body = "/".join(name for name in line.removeprefix("!").strip().split("/") if name not in {"", "."})
        if body:
            pattern = _glob(body)
            yield Rule(
                text=line, file=file, line=number, pattern=pattern, takes_back=takes_back,
                regex=re.compile(pattern, re.DOTALL),
            )  # fmt: skip


def _built_in() -> RuleSet:
    names = BUILT_IN.split()
    patterns = [(name, _glob(name)) for name in names]
    return RuleSet(
        Rule(
            text=name,
            file="built into Squall",
            line=0,
            pattern=pattern,
            by_name=True,
            regex=re.compile(pattern),
        )
        for name, pattern in patterns
    )


def _any_of(patterns: Iterable[str]) -> re.Pattern[str] | None:
    found = list(patterns)
    return re.compile("|".join(f"(?:{pattern})" for pattern in found), re.DOTALL) if found else None


def _without_trailing_spaces(line: str) -> str:
    stripped = line.rstrip(" ")
    escaped = len(stripped) - len(stripped.rstrip("\\"))
    # A backslash keeps the one space after it.
    return stripped + " " if escaped % 2 and len(stripped) < len(line) else stripped


def _glob(pattern: str) -> str:
    """The regular expression that matches whole paths as git's wildmatch does."""
    names = pattern.split("/")
    if len(names) == 1:
        return ".+" if pattern == "**" else _name(pattern)
    out = []
    for position, name in enumerate(names):
        last = position == len(names) - 1
        if name == "**":
            out.append(".+" if last else "(?:.*/)?")
        else:
            out.append(_name(name) + ("" if last else "/"))
    return "".join(out)


def _name(name: str) -> str:
    """The expression for one part of a path."""
    out: list[str] = []
    position = 0
    while position < len(name):
        letter = name[position]
        position += 1
        if letter == "*":
            if not out or out[-1] != "[^/]*":
                out.append("[^/]*")
        elif letter == "?":
            out.append("[^/]")
        elif letter == "[":
            found, position = _letters(name, position)
            out.append(found)
        elif letter == "\\":
            if position == len(name):
                return _NEVER
            out.append(re.escape(name[position]))
            position += 1
        else:
            out.append(re.escape(letter))
    return "".join(out)


def _letters(name: str, start: int) -> tuple[str, int]:
    """The expression for a set of letters whose `[` stands before `start`, and the position after its `]`."""
    position = start
    negated = name[position : position + 1] in {"!", "^"}
    position += negated
    out: list[str] = []
    first = True
    while first or name[position : position + 1] != "]":
        first = False
        if position >= len(name):
            return _NEVER, len(name)
        if name.startswith("[:", position):
            end = name.find(":]", position)
            if end < 0 or name[position + 2 : end] not in _POSIX_CLASSES:
                return _NEVER, len(name)
            out.append(_POSIX_CLASSES[name[position + 2 : end]])
            position = end + 2
            continue
        low, position = _letter(name, position)
        high = low
        if name[position : position + 1] == "-" and name[position + 1 : position + 2] not in {"]", ""}:
            high, position = _letter(name, position + 1)
        if low <= high:
            out.append(f"{re.escape(low)}-{re.escape(high)}")
    inside = "".join(out)
    if not inside:
        return ("[^/]" if negated else _NEVER), position + 1
    return (f"(?!/)[^{inside}]" if negated else f"(?!/)[{inside}]"), position + 1


def _letter(name: str, position: int) -> tuple[str, int]:
    if name[position] == "\\" and position + 1 < len(name):
        position += 1
    return name[position], position + 1


BUILT_IN_RULES: Final = _built_in()
