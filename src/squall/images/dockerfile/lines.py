"""Lines: the instructions of a Dockerfile as they are written, each with its first line, flags and heredocs."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, field
from typing import Final

from squall.images.dockerfile.refusal import Place, Refusal
from squall.images.dockerfile.words import cut_first, raw_words

KEYWORDS: Final = (
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
)
LONGEST_FILE: Final = 1_048_576
"""Characters of a Dockerfile that is read."""

MOST_INSTRUCTIONS: Final = 1_000
"""Far above what Docker can build, which is 127 layers; each holds all that it runs under."""

_WITH_LISTS: Final = frozenset({"ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"})
_WITH_HEREDOCS: Final = frozenset({"ADD", "COPY", "RUN"})
_DIRECTIVES: Final = frozenset({"check", "escape", "syntax"})
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(\S.*)")
_FLAG = re.compile(r"""--(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^\s'"\\])*""")
_QUOTING = re.compile(r"""\\(.)|'([^']*)'|"((?:\\.|[^"\\])*)\"""")
_SPACES = re.compile(r"\s*")
_HEREDOC = re.compile(r"\d*<<(-?)\s*([^<]+)")
_HEREDOC_ALONE = re.compile(r"\d*<<-?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """A text within the Dockerfile: its name, whether variables are substituted, whether first tabs are dropped."""

    name: str
    expands: bool
    drops_tabs: bool
    text: str = ""

    @property
    def content(self) -> str:
        """The text as a program reads it."""
        return re.sub(r"(?m)^\t+", "", self.text) if self.drops_tabs else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction: its keyword in capitals, the words before its arguments that begin with --, and the arguments.

    listed: the arguments where they are written as a JSON list. heredocs: in the order in which they are begun.
    """

    place: Place
    keyword: str
    flags: tuple[str, ...] = ()
    rest: str = ""
    listed: tuple[str, ...] | None = None
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A Dockerfile cut into instructions; escape: the character that continues a line."""

    instructions: tuple[Instruction, ...]
    escape: str
    notes: tuple[str, ...] = ()


def read_lines(text: str | bytes) -> Source:
    """The instructions of a Dockerfile. Raises InvalidError naming the line where there is none."""
    lines = _decoded(text).split("\n")
    if lines[-1] == "":
        lines.pop()
    reader = _Reader(lines=[line.rstrip("\r") for line in lines])
    reader.read_directives()
    instructions = []
    while reader.skip_to_instruction():
        instructions.append(reader.next_instruction())
        if len(instructions) > MOST_INSTRUCTIONS:
            raise Refusal(
                f"there are more than {MOST_INSTRUCTIONS} instructions",
                "put commands together, joined with &&",
            ).at(instructions[-1].place)
    return Source(instructions=tuple(instructions), escape=reader.escape, notes=tuple(reader.notes))


def heredoc_of(word: str) -> Heredoc | None:
    """The heredoc that a word such as <<EOF begins, its text still to come; None where it begins none."""
    found = _HEREDOC.fullmatch(word)
    if found is None:
        return None
    name = _unquoted(found[2])
    quoted = any(match[1] is None for match in _QUOTING.finditer(found[2]))
    return Heredoc(name=name, expands=not quoted, drops_tabs=found[1] == "-") if name else None


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Goes through the lines once; at: the index of the line that is read next."""

    lines: list[str]
    at: int = 0
    escape: str = "\\"
    notes: list[str] = field(default_factory=list)

    def read_directives(self) -> None:
        """Reads `# escape=` and its like: only lines before everything else are directives."""
        seen: set[str] = set()
        while self.at < len(self.lines):
            found = _DIRECTIVE.fullmatch(self.lines[self.at].strip())
            if found is None or found[1].lower() not in _DIRECTIVES:
                return
            name = found[1].lower()
            if name in seen:
                raise Refusal(f"the directive {name} stands here twice", "keep one of them").at(self._place())
            seen.add(name)
            if name == "escape":
                self._set_escape(found[2])
            self.at += 1

    def skip_to_instruction(self) -> bool:
        """Passes empty lines and comments; whether an instruction follows."""
        while self.at < len(self.lines):
            line = self.lines[self.at].strip()
            if line and not line.startswith("#"):
                return True
            self.at += 1
        return False

    def next_instruction(self) -> Instruction:
        place = self._place()
        try:
            text = self._logical_line(place)
            keyword, rest = cut_first(text)
            keyword = _known(keyword)
            flags, rest = _split_flags(rest)
            listed = _list_in(rest) if keyword in _WITH_LISTS else None
            begun = () if listed is not None else _heredocs_begun(keyword, rest)
            heredocs = tuple(self._filled(heredoc) for heredoc in begun)
        except Refusal as refusal:
            raise refusal.at(place) from None
        return Instruction(
            place=place, keyword=keyword, flags=flags, rest=rest, listed=listed, heredocs=heredocs
        )

    def _logical_line(self, place: Place) -> str:
        """One instruction without its line ends; comments and empty lines within it are left out."""
        parts: list[str] = []
        more, empty = True, False
        while more and self.at < len(self.lines):
            line = self.lines[self.at]
            self.at += 1
            if parts and line.lstrip().startswith("#"):
                continue
            if parts and not line.strip():
                empty = True
                continue
            ended = line.rstrip(" \t")
            more = ended.endswith(self.escape)
            parts.append(ended[:-1] if more else line)
        if empty:
            self.notes.append(
                f"line {place.line}: an empty line within a continued instruction is left out; Docker will refuse it one day"
            )
        return "".join(parts).strip()

    def _filled(self, heredoc: Heredoc) -> Heredoc:
        """The heredoc with the lines up to its name."""
        start = self.at
        while self.at < len(self.lines):
            line = self.lines[self.at]
            self.at += 1
            if (line.lstrip("\t") if heredoc.drops_tabs else line) == heredoc.name:
                text = "".join(f"{line}\n" for line in self.lines[start : self.at - 1])
                return Heredoc(
                    name=heredoc.name, expands=heredoc.expands, drops_tabs=heredoc.drops_tabs, text=text
                )
        raise Refusal(
            f"the text that <<{heredoc.name} begins has no end",
            f"write {heredoc.name} alone on the line behind the text",
        )

    def _set_escape(self, value: str) -> None:
        if value not in {"\\", "`"}:
            raise Refusal(f"{value!r} can be no escape character", "write ` or \\").at(self._place())
        self.escape = value

    def _place(self) -> Place:
        return Place(line=self.at + 1, text=self.lines[self.at])


def _decoded(text: str | bytes) -> str:
    """The text, without the mark that Windows begins files with."""
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        decoded.encode()
    except UnicodeError as wrong:
        before = (
            wrong.object[: wrong.start] if isinstance(wrong, UnicodeDecodeError | UnicodeEncodeError) else ""
        )
        line = before.count("\n") if isinstance(before, str) else before.count(b"\n")
        place = Place(line=line + 1, text="")
        raise Refusal("this is no text in UTF-8", "save the file in UTF-8").at(place) from None
    head, nul, _ = decoded.partition("\0")
    if nul:
        place = Place(line=head.count("\n") + 1, text=head.rpartition("\n")[2])
        raise Refusal("a NUL stands in this line", "take it out: no command and no variable can hold it").at(
            place
        )
    if len(decoded) > LONGEST_FILE:
        place = Place(line=1, text=decoded.partition("\n")[0])
        raise Refusal(
            f"the file has more than {LONGEST_FILE} characters", "put what is long into files, and COPY them"
        ).at(place)
    return decoded.removeprefix("\ufeff")


def _known(keyword: str) -> str:
    name = keyword.upper()
    if name in KEYWORDS and keyword.isascii():
        return name
    near = difflib.get_close_matches(name[:32], KEYWORDS, n=1)
    hint = f"did you mean {near[0]}? Or" if near else "check the spelling, or"
    raise Refusal(
        f"{keyword[:32]!r} is no instruction",
        f"{hint} end the line before it with the escape character if that goes on here",
    )


def _split_flags(rest: str) -> tuple[tuple[str, ...], str]:
    """The words at the beginning that begin with --, without quotes, and what follows them."""
    flags: list[str] = []
    at = 0
    while rest.startswith("--", at):
        found = _FLAG.match(rest, at)
        end = found.end() if found else at
        if end < len(rest) and not rest[end].isspace():
            raise Refusal("a quote in a flag is not closed", "close it")
        word = _unquoted(rest[at:end])
        spaces = _SPACES.match(rest, end)
        at = spaces.end() if spaces else end
        if word == "--":
            break
        flags.append(word)
    return tuple(flags), rest[at:]


def _unquoted(word: str) -> str:
    return _QUOTING.sub(
        lambda found: found[1] or found[2] or re.sub(r"\\(.)", r"\1", found[3] or ""),
        word,
    )


def _list_in(rest: str) -> tuple[str, ...] | None:
    """The words of a JSON list; None where it is none, which Docker takes for the other form."""
    if not rest.startswith("["):
        return None
    try:
        found = json.loads(rest)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise Refusal("a list in JSON holds something else than strings", 'write ["program", "argument"]')
    # Half of a pair of surrogates can be written in JSON, and nothing can hold it.
    words = tuple(word.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for word in found)
    if any("\0" in word for word in words):
        raise Refusal("a NUL stands in the list", "take it out: no command and no path can hold it")
    return words


def _heredocs_begun(keyword: str, rest: str) -> tuple[Heredoc, ...]:
    """The heredocs that an instruction begins, still without text."""
    if keyword == "ONBUILD":
        keyword, rest = cut_first(rest)
    if keyword.upper() not in _WITH_HEREDOCS or "<<" not in rest:
        return ()
    words = raw_words(rest)
    begun = []
    for word, after in zip(words, (*words[1:], ""), strict=False):
        # `<< EOF` is two words, and one heredoc.
        alone = _HEREDOC_ALONE.fullmatch(word) and after
        heredoc = heredoc_of(f"{word} {after}" if alone else word)
        begun += [heredoc] if heredoc else []
    return tuple(begun)
