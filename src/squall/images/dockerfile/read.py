"""Read: the stages and steps that a Dockerfile says, with everything in them resolved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from squall.images.dockerfile.evaluate import Evaluated, Ground, Scope, evaluate
from squall.images.dockerfile.lines import Instruction, read_lines
from squall.images.dockerfile.nouns import SCRATCH, Dockerfile, ImageConfig, Stage
from squall.images.dockerfile.stages import Block, find_origin, needed_stages, platform_args, read_layout
from squall.images.dockerfile.words import split_words
from squall.model.errors import InvalidError

PLATFORM: Final = "linux/amd64"
PROXIES: Final = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)
"""Build arguments that every Run sees without an ARG, and that change no key."""

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_NO_IMAGES: Final[Mapping[str, ImageConfig]] = MappingProxyType({})


def parse(
    text: str | bytes,
    *,
    build_args: Mapping[str, str] = _NOTHING,
    images: Mapping[str, ImageConfig] = _NO_IMAGES,
    platform: str = PLATFORM,
) -> Dockerfile:
    """What a Dockerfile builds: its last stage, and those that it needs.

    images: what the images that it stands on say of themselves, by the names that `image_names` gives; an image that
    is not there counts as one that says nothing, so a PATH that is made longer would lose what the image has in it.
    platform: what is built for. Raises InvalidError for what Docker refuses too, and ImageStepUnavailable for what is
    not in this version; both name the line.
    """
    _check(build_args)
    source = read_lines(text)
    layout = read_layout(source, build_args, platform)
    kept = needed_stages(layout.blocks)
    index_of = {number: index for index, number in enumerate(kept)}
    done: dict[int, Evaluated] = {}
    stages = []
    for number in kept:
        block = layout.blocks[number]
        if block.base is not None:
            ground = Ground(config=done[block.base].config, args=done[block.base].args)
        else:
            ground = Ground(config=images.get(block.image, ImageConfig()))
        done[number] = evaluate(block.body, ground, layout.scope, _origin_in(layout.blocks, number, index_of))
        stages.append(_stage(block, done[number], index_of))
    return Dockerfile(
        stages=tuple(stages),
        proxies=_proxies(build_args),
        notes=(
            *source.notes,
            *(note for number in kept for note in done[number].notes),
            *_unused(build_args, source.instructions, layout.scope),
        ),
    )


def parse_commands(
    text: str | bytes,
    *,
    build_args: Mapping[str, str] = _NOTHING,
    image: ImageConfig | None = None,
    platform: str = PLATFORM,
) -> Dockerfile:
    """One stage: lines of a Dockerfile that are added to an image, without FROM.

    image: what that image says of itself. Raises as `parse` does.
    """
    _check(build_args)
    source = read_lines(text)
    scope = Scope(build_args=build_args, outer=platform_args(platform), escape=source.escape)
    ground = Ground(config=image or ImageConfig())
    done = evaluate(source.instructions, ground, scope, _origin_in((), 0, {}))
    return Dockerfile(
        stages=(Stage(steps=done.steps, config=done.config),),
        proxies=_proxies(build_args),
        notes=(*source.notes, *done.notes, *_unused(build_args, source.instructions, scope)),
    )


def image_names(
    text: str | bytes, *, build_args: Mapping[str, str] = _NOTHING, platform: str = PLATFORM
) -> tuple[str, ...]:
    """The images that the stages which are needed stand on: what `parse` should know something about.

    Raises as `parse` does, though not for what only the steps say.
    """
    _check(build_args)
    blocks = read_layout(read_lines(text), build_args, platform).blocks
    names = (blocks[number].image for number in needed_stages(blocks))
    return tuple(dict.fromkeys(name for name in names if name not in {"", SCRATCH}))


def _stage(block: Block, done: Evaluated, index_of: Mapping[int, int]) -> Stage:
    return Stage(
        base=None if block.base is None else index_of[block.base],
        image=block.image,
        steps=done.steps,
        config=done.config,
        name=block.name,
        line=block.place.line,
    )


def _origin_in(
    blocks: tuple[Block, ...], number: int, index_of: Mapping[int, int]
) -> Callable[[str], int | str]:
    """What a --from in stage `number` names, with the index that the stage has among those that are kept."""

    def origin(written: str) -> int | str:
        found = find_origin(blocks, number, written)
        return index_of[found] if isinstance(found, int) else found

    return origin


def _check(build_args: Mapping[str, str]) -> None:
    """Raises InvalidError for a build argument that no environment can hold."""
    for name, value in build_args.items():
        try:
            f"{name}{value}".encode()
            fine = bool(name) and "=" not in name and "\0" not in name + value
        except UnicodeEncodeError:
            fine = False
        if not fine:
            raise InvalidError(
                f"the build argument {name!r} has a name or a value that no environment can hold",
                remedy="give it a name without =, and take NUL characters out",
            )


def _proxies(build_args: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in build_args.items() if name in PROXIES}


def _unused(
    build_args: Mapping[str, str], instructions: tuple[Instruction, ...], scope: Scope
) -> tuple[str, ...]:
    """A note for each build argument that nothing declares."""
    declared = {
        word.partition("=")[0]
        for instruction in instructions
        if instruction.keyword == "ARG"
        for word in split_words(instruction.rest, scope.escape)
    }
    unused = sorted(set(build_args) - declared - PROXIES - set(platform_args(PLATFORM)))
    return tuple(f"the build argument {name} is not used: no ARG declares it" for name in unused)
