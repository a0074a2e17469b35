"""Evaluate: a stage's instructions in order, each with the variables, directory and user that hold where it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from squall.images.dockerfile.copying import Surroundings, clean, read_copy
from squall.images.dockerfile.flags import read_flags
from squall.images.dockerfile.lines import KEYWORDS, Instruction, heredoc_of
from squall.images.dockerfile.nouns import DEFAULT_PATH, ImageConfig, MakeDirectory, Run, Step
from squall.images.dockerfile.refusal import Refusal
from squall.images.dockerfile.words import Lexer, cut_first, key_values, split_spaces, split_words

MOST_VARIABLES: Final = 1_000
LARGEST_ENVIRONMENT: Final = 262_144
"""Characters of all names and values together: with more, the kernel may start no program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What holds in all stages.

    build_args: the values that the user gives. outer: those of the arguments before the first FROM.
    """

    build_args: Mapping[str, str]
    outer: Mapping[str, str]
    escape: str = "\\"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a stage begins with: the configuration and the build arguments of what it stands on."""

    config: ImageConfig = field(default_factory=ImageConfig)
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What a stage comes to. args: the build arguments that stages on top of it inherit."""

    steps: tuple[Step, ...]
    config: ImageConfig
    args: dict[str, str]
    notes: tuple[str, ...] = ()


def evaluate(
    body: tuple[Instruction, ...], ground: Ground, scope: Scope, origin: Callable[[str], int | str]
) -> Evaluated:
    """The steps of a stage. origin: the index of the stage, or the name of the image, that a --from names.

    Raises InvalidError or ImageStepUnavailable naming the line.
    """
    config = ground.config
    # As every builder does: an image that has no PATH is given one.
    config = replace(config, env={"PATH": DEFAULT_PATH, **config.env})
    draft = _Draft(config=config, args=dict(ground.args), scope=scope, origin=origin)
    for instruction in body:
        try:
            _HANDLERS[instruction.keyword](draft, instruction)
        except Refusal as refusal:
            raise refusal.at(instruction.place) from None
    return Evaluated(steps=tuple(draft.steps), config=draft.config, args=draft.args, notes=tuple(draft.notes))


def declare(instruction: Instruction, known: Mapping[str, str], scope: Scope) -> dict[str, str]:
    """The values of the build arguments that an ARG declares; without those that have none. Raises Refusal.

    known: the variables that a default may name.
    """
    read_flags(instruction)
    words = split_words(instruction.rest, scope.escape)
    if not words:
        raise Refusal("ARG names nothing", "write ARG NAME or ARG NAME=default")
    check_size(dict.fromkeys(words, ""))
    values: dict[str, str] = {}
    for word in words:
        name, equals, default = word.partition("=")
        if not name:
            raise Refusal(f"{word!r} has no name", "write ARG NAME or ARG NAME=default")
        if name in scope.build_args:
            values[name] = scope.build_args[name]
        elif equals:
            values[name] = Lexer(escape=scope.escape).expand(default, {**values, **known})
        elif name in scope.outer:
            values[name] = scope.outer[name]
    return values


def check_size(variables: Mapping[str, str]) -> None:
    """Raises Refusal where there are more variables than a program can be started with."""
    size = sum(len(name) + len(value) for name, value in variables.items())
    if len(variables) > MOST_VARIABLES or size > LARGEST_ENVIRONMENT:
        raise Refusal(
            f"there are more than {MOST_VARIABLES} variables here, or than {LARGEST_ENVIRONMENT} characters in them",
            "put what is long into a file, and COPY it",
        )


@dataclass(slots=True, kw_only=True)
class _Draft:
    """A stage on its way."""

    config: ImageConfig
    args: dict[str, str]
    scope: Scope
    origin: Callable[[str], int | str]
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_cmd: bool = False
    variables: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.variables = {**self.args, **self.config.env}

    def set_variables(self, env: Mapping[str, str], args: Mapping[str, str]) -> None:
        """Adds variables; what can be named then: an ENV wins over an ARG of the same name, wherever it stands."""
        self.config = replace(self.config, env={**self.config.env, **env})
        self.args = {**self.args, **args}
        self.variables = {**self.args, **self.config.env}
        check_size(self.variables)

    def expand(self, text: str) -> str:
        return Lexer(escape=self.scope.escape).expand(text, self.variables)

    def expand_text(self, text: str, lexer: Lexer) -> str:
        return lexer.expand(text, self.variables)

    def note(self, instruction: Instruction, text: str) -> None:
        self.notes.append(f"line {instruction.place.line}: {text}")


def _env(draft: _Draft, instruction: Instruction) -> None:
    # All values of one instruction see the variables as they were before it.
    draft.set_variables(_pairs(draft, instruction), {})


def _label(draft: _Draft, instruction: Instruction) -> None:
    draft.config = replace(draft.config, labels={**draft.config.labels, **_pairs(draft, instruction)})


def _pairs(draft: _Draft, instruction: Instruction) -> dict[str, str]:
    read_flags(instruction)
    pairs: dict[str, str] = {}
    for written, value in key_values(instruction.keyword, instruction.rest, draft.scope.escape):
        name = draft.expand(written)
        if not name or "=" in name:
            raise Refusal(f"{written} comes to no name: {name!r}", "write the name itself")
        pairs[name] = draft.expand(value)
    return pairs


def _arg(draft: _Draft, instruction: Instruction) -> None:
    draft.set_variables({}, declare(instruction, draft.variables, draft.scope))


def _run(draft: _Draft, instruction: Instruction) -> None:
    read_flags(instruction)
    argv, script = _command_of_run(draft, instruction)
    draft.steps.append(
        Run(
            argv=argv,
            script=script,
            env=draft.variables,
            workdir=draft.config.workdir,
            user=draft.config.user,
            line=instruction.place.line,
        )
    )


def _command_of_run(draft: _Draft, instruction: Instruction) -> tuple[tuple[str, ...], str]:
    """The program and its arguments, or else a script that is run itself."""
    if instruction.listed is None and instruction.heredocs:
        if heredoc_of(instruction.rest) is None:
            # The shell reads the texts by itself, as it would from a terminal.
            texts = "".join(f"\n{heredoc.text}{heredoc.name}" for heredoc in instruction.heredocs)
            return (*draft.config.shell, instruction.rest + texts), ""
        text = instruction.heredocs[0].content
        return ((), text) if text.startswith("#!") else ((*draft.config.shell, text), "")
    argv = _command(draft, instruction)
    if not argv:
        raise Refusal("RUN has nothing to run", "write a command behind it")
    return argv, ""


def _command(draft: _Draft, instruction: Instruction) -> tuple[str, ...]:
    """A program and its arguments, in the shell where they are written as text; nothing is substituted."""
    if instruction.listed is not None:
        return instruction.listed
    if instruction.rest.startswith("['"):
        draft.note(
            instruction,
            "what is written as a list is given to the shell, because it is no JSON: "
            'write ["program", "argument"] with double quotes',
        )
    return (*draft.config.shell, instruction.rest) if instruction.rest else ()


def _entrypoint(draft: _Draft, instruction: Instruction) -> None:
    read_flags(instruction)
    # The arguments of another program make no sense to this one.
    cmd = draft.config.cmd if draft.has_cmd else None
    draft.config = replace(draft.config, entrypoint=_command(draft, instruction), cmd=cmd)


def _cmd(draft: _Draft, instruction: Instruction) -> None:
    read_flags(instruction)
    draft.has_cmd = True
    draft.config = replace(draft.config, cmd=_command(draft, instruction))


def _shell(draft: _Draft, instruction: Instruction) -> None:
    read_flags(instruction)
    if not instruction.listed:
        raise Refusal("SHELL takes a list in JSON", 'write SHELL ["/bin/bash", "-c"]')
    draft.config = replace(draft.config, shell=instruction.listed)


def _workdir(draft: _Draft, instruction: Instruction) -> None:
    written = _one(draft, instruction)
    if not written:
        draft.note(instruction, "WORKDIR comes to nothing and changes nothing: a variable in it has no value")
    path = clean(written if written.startswith("/") else f"{draft.config.workdir}/{written}")
    draft.config = replace(draft.config, workdir=path)
    if path != "/":
        draft.steps.append(MakeDirectory(path=path, user=draft.config.user, line=instruction.place.line))


def _user(draft: _Draft, instruction: Instruction) -> None:
    draft.config = replace(draft.config, user=_one(draft, instruction))


def _stop_signal(draft: _Draft, instruction: Instruction) -> None:
    draft.config = replace(draft.config, stop_signal=_one(draft, instruction))


def _one(draft: _Draft, instruction: Instruction) -> str:
    """The one argument, spaces in it and all."""
    read_flags(instruction)
    if not instruction.rest:
        raise Refusal(f"{instruction.keyword} names nothing", f"write {instruction.keyword} VALUE")
    return draft.expand(instruction.rest)


def _expose(draft: _Draft, instruction: Instruction) -> None:
    ports = [port for word in _several(instruction) for port in split_spaces(draft.expand(word))]
    draft.config = replace(draft.config, ports=_joined(draft.config.ports, ports))


def _volume(draft: _Draft, instruction: Instruction) -> None:
    paths = [draft.expand(word) for word in _several(instruction)]
    if "" in paths:
        raise Refusal("VOLUME has an empty path", "give the variable in it a value")
    draft.note(instruction, "VOLUME mounts nothing: use volumes={...} at the function for what is to stay")
    draft.config = replace(draft.config, volumes=_joined(draft.config.volumes, paths))


def _several(instruction: Instruction) -> tuple[str, ...]:
    read_flags(instruction)
    words = instruction.listed if instruction.listed is not None else split_spaces(instruction.rest)
    if not words:
        raise Refusal(f"{instruction.keyword} names nothing", f"write {instruction.keyword} VALUE...")
    return words


def _joined(before: tuple[str, ...], added: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*before, *added)))


def _copy(draft: _Draft, instruction: Instruction) -> None:
    around = Surroundings(
        expand=draft.expand,
        expand_text=draft.expand_text,
        workdir=draft.config.workdir,
        origin=draft.origin,
    )
    draft.steps.append(read_copy(instruction, around))


def _health_check(draft: _Draft, instruction: Instruction) -> None:
    read_flags(instruction)
    kind, rest = cut_first(instruction.rest)
    if kind.upper() not in {"CMD", "NONE"} or bool(rest) != (kind.upper() == "CMD"):
        raise Refusal(
            "HEALTHCHECK is written otherwise", "write HEALTHCHECK CMD command, or HEALTHCHECK NONE"
        )
    draft.note(instruction, "HEALTHCHECK is left out: whether a container lives is seen without it")


def _maintainer(draft: _Draft, instruction: Instruction) -> None:
    _several(instruction)
    draft.note(instruction, "MAINTAINER is left out: Docker has LABEL for it")


def _on_build(draft: _Draft, instruction: Instruction) -> None:
    read_flags(instruction)
    keyword = cut_first(instruction.rest)[0].upper()
    if keyword not in KEYWORDS or keyword in {"FROM", "MAINTAINER", "ONBUILD"}:
        raise Refusal(
            f"ONBUILD cannot be followed by {keyword[:32] or 'nothing'}",
            "write an instruction such as RUN behind it",
        )
    draft.note(
        instruction, "ONBUILD is left out: it says nothing about this image, only about images on top of it"
    )


def _from(_: _Draft, __: Instruction) -> None:
    raise Refusal(
        "these lines are added to an image, which FROM would replace",
        "leave FROM out, or use from_dockerfile",
    )


_HANDLERS: Final[Mapping[str, Callable[[_Draft, Instruction], None]]] = {
    "ADD": _copy,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _health_check,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _on_build,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
