"""Copying: what COPY and ADD put where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from squall.images.dockerfile.flags import read_flags
from squall.images.dockerfile.lines import Heredoc, Instruction, heredoc_of
from squall.images.dockerfile.nouns import Copy, InlineFile
from squall.images.dockerfile.refusal import Refusal
from squall.images.dockerfile.words import Lexer, split_spaces
from squall.images.registry.location import parse_location

LONGEST_INLINE: Final = 4_194_304
"""Characters of a file whose text stands in the Dockerfile, after substitution."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_GIT = re.compile(r"git@[\w.-]+:|github\.com/|(?:git|ssh)://|https?://[^#?]*\.git/?(?:[#?]|$)", re.ASCII)
_CHECKSUM = re.compile(r"sha256:([0-9a-f]{64})")
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
    sources, addresses, inline = _sources(instruction, words[:-1], around)
    dest = _destination(keyword, around.expand(words[-1]), around.workdir)
    if len(sources) + len(addresses) + len(inline) > 1 and not dest.endswith("/"):
        raise Refusal(
            f"{keyword} of several sources goes into a directory, and {dest} does not end with a slash",
            f"write {dest}/",
        )
    for address in addresses:
        if dest.endswith("/") and not name_of(address):
            raise Refusal("the address does not say how its file is called", f"write {dest}NAME")
    checksum = around.expand(flags.get("checksum", ""))
    if checksum and (len(addresses) != 1 or sources or inline or not _CHECKSUM.fullmatch(checksum)):
        raise Refusal(
            "--checksum is the sha256 of one file that is downloaded",
            "write --checksum=sha256:HEX for one address",
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
        addresses=addresses,
        checksum=checksum.removeprefix("sha256:"),
        chown=around.expand(flags.get("chown", "")),
        chmod=_mode(around.expand(flags.get("chmod", ""))),
        line=instruction.place.line,
    )


def _sources(
    instruction: Instruction, words: tuple[str, ...], around: Surroundings
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[InlineFile, ...]]:
    """The paths that are copied, the addresses of what is downloaded, and the texts."""
    sources: list[str] = []
    addresses: list[str] = []
    inline: list[InlineFile] = []
    texts: Iterator[Heredoc] = iter(instruction.heredocs)
    for word in words:
        if instruction.listed is None and heredoc_of(word) is not None:
            inline.append(_inline(next(texts, None), around))
            continue
        source = around.expand(word)
        if _is_address(instruction.keyword, source):
            addresses.append(source)
            continue
        sources.append(clean(source)[1:] or ".")
    if next(texts, None) is not None:
        raise _unclear()
    return tuple(sources), tuple(addresses), tuple(inline)


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


def name_of(address: str) -> str:
    """What the file at an address is called where it is put into a directory; "" where nothing says so."""
    name = unquote(parse_location(address).target.partition("?")[0]).rpartition("/")[2]
    return "" if name in {".", ".."} or "\0" in name else name


def _is_address(keyword: str, source: str) -> bool:
    """Whether a source is downloaded. Raises Refusal for one that nobody downloads."""
    is_git = keyword == "ADD" and _GIT.match(source) is not None
    if not _URL.match(source) and not is_git:
        return False
    if keyword == "COPY":
        raise Refusal("COPY takes paths, and this is an address", "use ADD, or COPY a file that you have")
    if is_git:
        raise Refusal(
            "ADD of a git repository is not in this version",
            "clone it in a RUN, or ADD an archive of it",
            feature="ADD of a git repository",
        )
    try:
        parse_location(source)
    except ValueError as wrong:
        raise Refusal(
            f"ADD takes addresses of http and https, and no login in them; this is {wrong}",
            "download it in a RUN, with a secret where it needs a login",
        ) from None
    return True


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
