"""Stages: which FROM begins which stage, what it stands on, and which stages the last one needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from squall.images.dockerfile.evaluate import Scope, check_size, declare
from squall.images.dockerfile.flags import read_flags
from squall.images.dockerfile.lines import Instruction, Source
from squall.images.dockerfile.refusal import Place, Refusal
from squall.images.dockerfile.words import Lexer, split_spaces

_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_ARCHITECTURES: Final[Mapping[str, str]] = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_SAME_VARIANT: Final = {("amd64", "v1"), ("arm64", "v8")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The instructions of one stage as they are written; base: the number of the stage it stands on, else image."""

    place: Place
    name: str = ""
    base: int | None = None
    image: str = ""
    body: tuple[Instruction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """All stages of a Dockerfile, and what holds in each of them."""

    blocks: tuple[Block, ...]
    scope: Scope


def read_layout(source: Source, build_args: Mapping[str, str], platform: str) -> Layout:
    """The stages of a Dockerfile. platform: what it is built for and on, "linux/amd64".

    Raises InvalidError or ImageStepUnavailable naming the line.
    """
    froms = [at for at, instruction in enumerate(source.instructions) if instruction.keyword == "FROM"]
    if not froms:
        last = source.instructions[-1].place if source.instructions else Place(line=1, text="")
        raise Refusal("there is no FROM in the file", "begin it with FROM and the image to build on").at(last)
    scope = Scope(build_args=build_args, outer=platform_args(platform), escape=source.escape)
    for instruction in source.instructions[: froms[0]]:
        scope = _with_outer(scope, instruction)
    blocks: list[Block] = []
    for at, until in zip(froms, (*froms[1:], len(source.instructions)), strict=True):
        head = source.instructions[at]
        try:
            begun = _begin(head, blocks, scope, platform)
        except Refusal as refusal:
            raise refusal.at(head.place) from None
        body = source.instructions[at + 1 : until]
        blocks.append(Block(place=head.place, name=begun.name, base=begun.base, image=begun.image, body=body))
    return Layout(blocks=tuple(blocks), scope=scope)


def needed_stages(blocks: tuple[Block, ...]) -> tuple[int, ...]:
    """The numbers of the stages that the last one needs, in order. Raises InvalidError or ImageStepUnavailable."""
    needed: set[int] = set()
    open_ones = [len(blocks) - 1]
    while open_ones:
        number = open_ones.pop()
        if number in needed:
            continue
        needed.add(number)
        base = blocks[number].base
        if base is not None:
            _refuse_triggers(blocks[base], blocks[number])
            open_ones.append(base)
        open_ones += _copied_from(blocks, number)
    return tuple(sorted(needed))


def find_origin(blocks: tuple[Block, ...], number: int, written: str) -> int | str:
    """The number of the stage that a --from in stage `number` names, or else the name of an image. Raises Refusal."""
    if "$" in written:
        raise Refusal(
            "--from takes no variable, as with Docker",
            f"write FROM {written} AS NAME above this stage, and --from=NAME here",
        )
    if re.fullmatch(r"[0-9]{1,9}", written):
        if int(written) < number:
            return int(written)
        raise Refusal(f"there is no stage {written} above", "stages are counted from 0")
    named = _find(blocks, written)
    earlier = _find(blocks[:number], written)
    if named is not None and earlier is None:
        raise Refusal(
            f"the stage {written} is not above this one", "move it up: a stage is built from earlier ones"
        )
    return written if earlier is None else earlier


def platform_args(platform: str) -> dict[str, str]:
    """The build arguments that tell the platform, which is the same for building and for running."""
    parts: list[str] = [*canonical_platform(platform).split("/"), "", ""]
    values = {
        "PLATFORM": "/".join(filter(None, parts)),
        "OS": parts[0],
        "ARCH": parts[1],
        "VARIANT": parts[2],
    }
    sides = {f"{side}{key}": value for side in ("TARGET", "BUILD") for key, value in values.items()}
    return {**sides, "TARGETSTAGE": "default"}


def canonical_platform(platform: str) -> str:
    """One spelling for each platform: "linux/amd64", "linux/arm64", "linux/arm/v7"."""
    parts = platform.lower().split("/")
    if len(parts) == 1:
        parts = ["linux", *parts]
    parts[1] = _ARCHITECTURES.get(parts[1], parts[1])
    if len(parts) == 3 and (parts[1], parts[2]) in _SAME_VARIANT:
        parts.pop()
    return "/".join(parts)


def _with_outer(scope: Scope, instruction: Instruction) -> Scope:
    """The scope behind an instruction that stands before the first FROM."""
    try:
        if instruction.keyword != "ARG":
            raise Refusal(
                f"{instruction.keyword} stands before the first FROM, where only ARG may stand",
                "move it below FROM",
            )
        outer = {**scope.outer, **declare(instruction, scope.outer, scope)}
        check_size(outer)
    except Refusal as refusal:
        raise refusal.at(instruction.place) from None
    return Scope(build_args=scope.build_args, outer=outer, escape=scope.escape)


def _begin(head: Instruction, blocks: list[Block], scope: Scope, platform: str) -> Block:
    """The stage that a FROM begins, its body still to come. Raises Refusal."""
    lexer = Lexer(escape=scope.escape)
    flags = read_flags(head)
    words = split_spaces(head.rest)
    if not (len(words) == 1 or (len(words) == 3 and words[1].upper() == "AS")):
        raise Refusal("FROM is written otherwise", "write FROM IMAGE, or FROM IMAGE AS NAME")
    name = words[2].lower() if len(words) == 3 else ""
    if name and not _NAME.fullmatch(name):
        raise Refusal(
            f"{words[-1]!r} is no name for a stage",
            "begin it with a letter, and use letters, digits, dots, hyphens and underscores",
        )
    image = lexer.expand(words[0], scope.outer)
    if not image or any(char.isspace() for char in image):
        raise Refusal(
            f"{words[0]} comes to {image!r}, which is no image",
            "give the ARG in it a default above the first FROM, or pass it in build_args",
        )
    _check_platform(lexer.expand(flags.get("platform", ""), scope.outer), platform)
    base = _find(tuple(blocks), image)
    return Block(place=head.place, name=name, base=base, image=image if base is None else "")


def _check_platform(asked: str, platform: str) -> None:
    if asked and canonical_platform(asked) != canonical_platform(platform):
        raise Refusal(
            f"the platform {asked} is not this machine's, and no other is built for in this version",
            f"leave --platform out, or write --platform={canonical_platform(platform)}",
            feature="FROM --platform of another machine",
        )


def _find(blocks: tuple[Block, ...], name: str) -> int | None:
    """The number of the last stage of that name."""
    wanted = name.lower()
    return next((at for at in reversed(range(len(blocks))) if blocks[at].name == wanted), None)


def _copied_from(blocks: tuple[Block, ...], number: int) -> list[int]:
    """The stages that the instructions of a stage copy from."""
    found: list[int] = []
    for instruction in blocks[number].body:
        if instruction.keyword != "COPY":
            continue
        try:
            written = read_flags(instruction).get("from", "")
            origin = find_origin(blocks, number, written) if written else ""
        except Refusal as refusal:
            raise refusal.at(instruction.place) from None
        found += [origin] if isinstance(origin, int) else []
    return found


def _refuse_triggers(base: Block, block: Block) -> None:
    trigger = next((each for each in base.body if each.keyword == "ONBUILD"), None)
    if trigger is not None:
        raise Refusal(
            f"it would run in the stage at line {block.place.line}, and triggers are not in this version",
            "write what ONBUILD says into that stage",
            feature="ONBUILD",
        ).at(trigger.place)
