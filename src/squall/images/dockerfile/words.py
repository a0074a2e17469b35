"""Words: how Docker cuts a line into words, and what stands in the place of `$X` in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from squall.images.dockerfile.refusal import Refusal

LONGEST_VALUE: Final = 131_072
"""Characters of a value after substitution: the kernel takes no longer string of an environment."""

_DEEPEST: Final = 32  # substitutions within substitutions; nobody writes so many, and a stack has an end
_SPACES = re.compile(r"[\t\v\f\r ]+")
_RAW_WORD = re.compile(r"""(?:\\.|\\$|'[^']*'|"(?:\\.|[^"\\])*"|[^\s'"\\])+""")
_SPECIAL: Final = "@*#?-$!"  # parameters of a shell that are named by one character
_UNCLOSED: Final = "close it, or write the escape character before it if it is meant literally"


def split_spaces(text: str) -> tuple[str, ...]:
    """The words of `text`, cut at every space: quotes hold nothing together here."""
    return tuple(word for word in _SPACES.split(text.strip()) if word)


def cut_first(text: str) -> tuple[str, str]:
    """The first word of `text`, and what comes after the spaces behind it."""
    first, *rest = _SPACES.split(text.strip(), maxsplit=1)
    return first, rest[0] if rest else ""


def split_words(text: str, escape: str) -> tuple[str, ...]:
    """The words of `text`; what is quoted or escaped stays together, with its quotes and escapes."""
    words: list[str] = []
    word: list[str] = []
    quote, at = "", 0
    while at < len(text):
        char = text[at]
        if not quote and char.isspace():
            words += ["".join(word)] if word else []
            word, at = [], at + 1
            continue
        if char == escape and quote != "'":
            # An escape at the very end says nothing.
            word += [text[at : at + 2]] if at + 1 < len(text) else []
            at += 2
            continue
        if char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        word.append(char)
        at += 1
    return (*words, "".join(word)) if word else tuple(words)


def raw_words(text: str) -> tuple[str, ...]:
    """The words of `text` as a shell would cut them, unchanged; none at all where a quote is not closed."""
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        found = _RAW_WORD.match(text, at)
        if found is None or (found.end() < len(text) and not text[found.end()].isspace()):
            return ()
        words.append(found[0])
        at = found.end()
    return tuple(words)


def key_values(keyword: str, rest: str, escape: str) -> tuple[tuple[str, str], ...]:
    """The pairs of ENV and LABEL, in either form, nothing substituted yet. Raises Refusal."""
    words = split_words(rest, escape)
    if not words:
        raise Refusal(f"{keyword} names nothing", f"write {keyword} NAME=value")
    if "=" not in words[0]:
        name, value = cut_first(rest)
        if not value:
            raise Refusal(f"{keyword} {name} has no value", f"write {keyword} {name}=value")
        return ((name, value),)
    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not equals or not name:
            raise Refusal(
                f"{name + equals!r} is not of the form NAME=value", "quote a value that has spaces in it"
            )
    return tuple((name, value) for name, _, value in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexer:
    """How variables, quotes and escapes are read.

    escape: the character that takes the meaning from the next one. quotes: whether quotes are taken off; in the text
    of a file they stay. longest: characters that a result may have.
    """

    escape: str = "\\"
    quotes: bool = True
    longest: int = LONGEST_VALUE

    def expand(self, text: str, variables: Mapping[str, str]) -> str:
        """`text` with the values of its variables, without quotes and escapes. Raises Refusal."""
        return _Expansion(lexer=self, text=text, variables=variables).until("")


@dataclass(slots=True, kw_only=True)
class _Expansion:
    """One text on its way from left to right."""

    lexer: Lexer
    text: str
    variables: Mapping[str, str]
    at: int = 0
    depth: int = 0

    def until(self, stop: str) -> str:
        """What stands before `stop`, which is passed; everything where it is empty."""
        done: list[str] = []
        size = 0
        while self.at < len(self.text):
            if self.text[self.at] == stop:
                self.at += 1
                return "".join(done)
            done.append(self._piece())
            size += len(done[-1])
            self._bound(size)
        if stop:
            raise Refusal("a ${ is not closed", "write the } that closes it")
        return "".join(done)

    def _piece(self) -> str:
        char = self._take()
        if char == "$":
            return self._dollar()
        if char == self.lexer.escape:
            return self._take()
        if self.lexer.quotes and char == "'":
            return self._single_quoted()
        if self.lexer.quotes and char == '"':
            return self._double_quoted()
        return char

    def _single_quoted(self) -> str:
        end = self.text.find("'", self.at)
        if end < 0:
            raise Refusal("a single quote is not closed", _UNCLOSED)
        inner, self.at = self.text[self.at : end], end + 1
        return inner

    def _double_quoted(self) -> str:
        done: list[str] = []
        size = 0
        while self.at < len(self.text):
            char = self._take()
            if char == '"':
                return "".join(done)
            if char == "$":
                char = self._dollar()
            elif char == self.lexer.escape:
                # Within quotes only these can be escaped; before anything else the escape stays.
                after = self._peek()
                char = self._take() if after and after in {'"', "$", self.lexer.escape} else char
            done.append(char)
            size += len(char)
            self._bound(size)
        raise Refusal("a double quote is not closed", _UNCLOSED)

    def _dollar(self) -> str:
        if self._peek() != "{":
            name = self._name()
            return self.variables.get(name, "") if name else "$"
        self.at += 1
        name = self._name()
        if not name:
            raise Refusal(
                "a ${ is followed by no name", r"write ${NAME}, or \${ for the characters themselves"
            )
        operator = self._take()
        if operator == "}":
            return self.variables.get(name, "")
        if operator == ":":
            operator += self._take()
        return self._modified(name, operator)

    def _modified(self, name: str, operator: str) -> str:
        if not operator or operator == ":":
            raise Refusal("a ${ is not closed", "write the } that closes it")
        if operator[-1] not in "-+?" or operator == "::":
            raise Refusal(
                f"${{{name}{operator}...}} is not substituted by this version",
                "use ${NAME}, ${NAME:-word} or ${NAME:+word}, or compute the value in a RUN",
                feature="substitution by pattern",
            )
        self.depth += 1
        if self.depth > _DEEPEST:
            raise Refusal("substitutions stand too deep within each other", "give the parts names with ARG")
        word = self.until("}")
        self.depth -= 1
        value = self.variables.get(name)
        is_set = value is not None and not (operator[0] == ":" and value == "")
        if operator[-1] == "+":
            return word if is_set else ""
        if operator[-1] == "?" and not is_set:
            raise Refusal(
                f"{name} has no value: {word or 'it must have one'}", f"pass build_args={{{name!r}: ...}}"
            )
        return value if is_set and value is not None else word

    def _name(self) -> str:
        """The name of a variable that begins here; empty where there is none."""
        start = self.at
        first = self._peek()
        if first and first in _SPECIAL:
            self.at += 1
        elif first.isdigit():
            self._pass(str.isdigit)
        else:
            self._pass(_is_of_a_name)
        return self.text[start : self.at]

    def _pass(self, belongs: Callable[[str], bool]) -> None:
        while self.at < len(self.text) and belongs(self.text[self.at]):
            self.at += 1

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self) -> str:
        char = self._peek()
        self.at += 1
        return char

    def _bound(self, size: int) -> None:
        if size > self.lexer.longest:
            raise Refusal(
                f"a value grows to more than {self.lexer.longest} characters by substitution",
                "put what is long into a file, and COPY it",
            )


def _is_of_a_name(char: str) -> bool:
    return char == "_" or char.isalpha() or char.isdigit()
