"""Copying: what COPY and ADD put where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from squall.images.dockerfile.flags import read_flags
from squall.images.dockerfile.lines import Heredoc, Instruction, heredoc_of
from squall.images.dockerfile.nouns import Copy, InlineFile
from squall.images.dockerfile.refusal import Refusal
from squall.images.dockerfile.words import Lexer, split_spaces

LONGEST_INLINE: Final = 4_194_304
"""Characters of a file whose text stands in the Dockerfile, after substitution."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_GIT = re.compile(r"git@[\w.-]+:|github\.com/", re.ASCII)
_MODE = re.compile(r"[0-7]{1,4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a COPY is read with.

    expand: substitutes words, expand_text: the texts of files. origin: which stage or image a --from names.
    """

    expand: Callable[[str], str]
    expand_text: Callable[[str, Lexer], str]
    workdir: str
    origin: Callable[[str], int | str]


def clean(path: str) -> str:
    """`path` in its shortest form, absolute; .. stops at the root."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in {"", "."}:
            parts.append(part)
    return "/" + "/".join(parts)


def read_copy(instruction: Instruction, around: Surroundings) -> Copy:
    """The files that COPY or ADD puts into the image. Raises Refusal."""
    keyword, flags = instruction.keyword, read_flags(instruction)
    words = instruction.listed if instruction.listed is not None else split_spaces(instruction.rest)
    if len(words) < 2:
        raise Refusal(f"{keyword} needs a source and a destination", f"write {keyword} SOURCE... DESTINATION")
    sources, inline = _sources(instruction, words[:-1], around)
    dest = _destination(keyword, around.expand(words[-1]), around.workdir)
    if len(sources) + len(inline) > 1 and not dest.endswith("/"):
        raise Refusal(
            f"{keyword} of several sources goes into a directory, and {dest} does not end with a slash",
            f"write {dest}/",
        )
    origin = around.origin(flags["from"]) if flags.get("from") else ""
    if origin != "" and inline:
        raise Refusal("a text that stands here comes from no other stage", "leave --from out")
    return Copy(
        sources=sources,
        inline=inline,
        dest=dest,
        stage=origin if isinstance(origin, int) else None,
        image=origin if isinstance(origin, str) else "",
        unpack=keyword == "ADD",
        chown=around.expand(flags.get("chown", "")),
        chmod=_mode(around.expand(flags.get("chmod", ""))),
        line=instruction.place.line,
    )


def _sources(
    instruction: Instruction, words: tuple[str, ...], around: Surroundings
) -> tuple[tuple[str, ...], tuple[InlineFile, ...]]:
    """The paths and the texts that are copied."""
    sources: list[str] = []
    inline: list[InlineFile] = []
    texts: Iterator[Heredoc] = iter(instruction.heredocs)
    for word in words:
        if instruction.listed is None and heredoc_of(word) is not None:
            inline.append(_inline(next(texts, None), around))
            continue
        source = around.expand(word)
        _refuse_remote(instruction.keyword, source)
        sources.append(clean(source)[1:] or ".")
    if next(texts, None) is not None:
        raise _unclear()
    return tuple(sources), tuple(inline)


def _inline(heredoc: Heredoc | None, around: Surroundings) -> InlineFile:
    if heredoc is None:
        raise _unclear()
    if "/" in heredoc.name or heredoc.name in {".", ".."}:
        raise Refusal(
            f"{heredoc.name!r} is no name for a file, and its text's name is what a file is called",
            "choose a name without a slash",
        )
    # The escape directive does not reach into texts, and their quotes are their own.
    lexer = Lexer(escape="\\", quotes=False, longest=LONGEST_INLINE)
    text = around.expand_text(heredoc.content, lexer) if heredoc.expands else heredoc.content
    return InlineFile(name=heredoc.name, text=text)


def _unclear() -> Refusal:
    return Refusal(
        "which text goes where is not clear",
        "write <<NAME for each text, without spaces, before the destination",
    )


def _refuse_remote(keyword: str, source: str) -> None:
    if not _URL.match(source) and not (keyword == "ADD" and _GIT.match(source)):
        return
    remedy = "download it in a RUN (curl, git clone), or COPY a file that you have"
    if keyword == "COPY":
        raise Refusal("COPY takes paths, and this is an address", remedy)
    raise Refusal(
        "ADD of an address is not in this version: only files of the context are added",
        remedy,
        feature="ADD of an address",
    )


def _destination(keyword: str, written: str, workdir: str) -> str:
    """The absolute destination, with a last slash where it is written as a directory."""
    if not written:
        raise Refusal(
            f"the destination of {keyword} is empty",
            "give the variable in it a value, or write . for the working directory",
        )
    path = clean(written if written.startswith("/") else f"{workdir}/{written}")
    return f"{path}/" if path != "/" and (written == "." or written.endswith("/")) else path


def _mode(written: str) -> str:
    if not written or _MODE.fullmatch(written):
        return written
    raise Refusal(
        f"--chmod={written} is not in this version: it takes up to four octal digits",
        "write the mode in digits, such as --chmod=755",
        feature="--chmod by letters",
    )
