"""What may not be written: rooms for everything, reasons left out, words of a place that is not ours."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

from tests.tidy import house

# A file or folder with such a name holds whatever found no noun or verb.
ROOMS_FOR_EVERYTHING = {
    "base",
    "common",
    "constants",
    "core",
    "helper",
    "helpers",
    "lib",
    "manager",
    "managers",
    "misc",
    "service",
    "services",
    "types",
    "util",
    "utils",
}

# A letter in brackets keeps a pattern from matching itself.
FORBIDDEN = [
    re.compile(pattern)
    for pattern in (
        r"(?<![\w.])/[w]ork/",
        r"/[h]ome/(?!(user|me|ada|alice|bob|linuxbrew)\b|\{|[A-Z$<*.])\w",
        r"(?i)\b[p]ypi\.org|[p]ythonhosted|deb\.[d]ebian|registry\.[n]pmjs",
        r"(?i)\b[c]laude\b|\b[a]nthropic\b|\b[c]opilot\b",
        r"(?i)\b(?:[i]ssue|ticket) #?\d",
    )
]

# The mirrors that are asked unless somebody names others: users meet them, wherever this was written. One line of the
# file may have this word, and no other word.
OUR_OWN_WORDS = {
    "src/squall/images/debian/nouns.py": ("MIRRORS: Final = ", "https://deb.{}.org/".format("debian"))
}


def test_a_file_is_named_after_a_noun_or_a_verb() -> None:
    for path in house.python_files("src", "bootstrap"):
        parts = {*path.relative_to(house.ROOT).parts[1:-1], path.stem.lstrip("_")}
        assert not parts & ROOMS_FOR_EVERYTHING, house.short(path)


def test_a_module_opens_with_its_sentence() -> None:
    silent = [
        house.short(path)
        for path in house.python_files("src", "bootstrap", "bench", "examples", "docs")
        if not (ast.get_docstring(house.tree(path)) or "").partition("\n")[0].strip()
    ]
    assert not silent, "say in one sentence what the module is or does"


def test_what_is_switched_off_says_why() -> None:
    silent = [
        f"{house.short(path)}:{line}: {text}"
        for path in house.python_files("src", "bootstrap", "bench", "examples", "scripts")
        for line, text in _comments(path)
        if re.search(r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore|pragma)", text) and not _has_reason(text)
    ]
    assert not silent, "`# noqa: X - reason`, `# type: ignore[x]  # reason`"


def test_nothing_tells_of_the_machine_it_was_written_on() -> None:
    found = [
        f"{house.short(path)}:{number}: {line.strip()}"
        for path in house.files()
        for number, line in enumerate(_text(path).splitlines(), 1)
        if _is_forbidden(_without_our_own(path, line))
    ]
    assert not found


def test_an_exception_is_one_line_and_still_needed() -> None:
    for name, (start, _) in OUR_OWN_WORDS.items():
        lines = (house.ROOT / name).read_text(encoding="utf-8").splitlines()
        (found,) = (line for line in lines if line.startswith(start))
        assert _is_forbidden(found), name
        assert not _is_forbidden(_without_our_own(house.ROOT / name, found)), name


def test_an_exception_is_for_its_own_word_in_its_own_line() -> None:
    (name, (start, word)), *_ = OUR_OWN_WORDS.items()
    at = house.ROOT / name
    assert _is_forbidden(_without_our_own(at, f"# {word}"))
    assert _is_forbidden(_without_our_own(at.with_name("mirror.py"), start + word))
    assert _is_forbidden(_without_our_own(at, f"{start}{word} + an {'Issue'} 12"))


def test_the_forbidden_words_are_found() -> None:
    for letter, rest in (
        ("/w", "ork/x"),
        ("an i", "ssue 12"),
        ("p", "ypi.org"),
        ("/h", "ome/jo"),
    ):
        assert _is_forbidden(letter + rest), rest
    for harmless in ["the network/work/flow", "/home/user/app", "/home/{name}", "an issue"]:
        assert not _is_forbidden(harmless), harmless


def _is_forbidden(line: str) -> bool:
    return any(pattern.search(line) for pattern in FORBIDDEN)


def _without_our_own(path: Path, line: str) -> str:
    start, word = OUR_OWN_WORDS.get(house.short(path), ("", ""))
    return line.replace(word, "") if word and line.startswith(start) else line


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""  # a picture


def _comments(path: Path) -> list[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


def _has_reason(comment: str) -> bool:
    rest = re.sub(r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore|pragma)[:\w\s,]*(\[[\w\-, ]*\])?", "", comment)
    return bool(re.search(r"\w{2,}", rest))
