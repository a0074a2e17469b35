"""Plan: the layers that make a recipe of its base, each with a key that names all that goes in. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, assert_never

from squall.images.conda.command import with_environment
from squall.images.dockerfile.nouns import (
    Copy,
    ImageConfig,
    MakeDirectory,
    Run,
    Stage,
    Step as DockerfileStep,
    step_to_json as dockerfile_step_to_json,
)
from squall.images.dockerfile.read import parse_commands
from squall.images.plan import digest_of_parts
from squall.images.rooted.nouns import Action, Built, LayerStep, StepsPlan
from squall.model.gpu import Gpus
from squall.model.image import ImageRecipe
from squall.model.image_steps import (
    AddLocal,
    AptInstall,
    Cmd,
    CondaInstall,
    DockerfileCommands,
    Entrypoint,
    Env,
    PipInstall,
    PoetryInstall,
    RunCommands,
    RunFunction,
    Shell,
    Step,
    UvSync,
    Workdir,
    step_label,
    step_to_json,
)
from squall.model.jsonable import to_json
from squall.model.step_takes import NOTHING, StepTakes

BUILDER_VERSION: Final = 2
"""Grows when the same step would be built to something else: every older layer is then built anew."""

_NO_PART_OF_A_KEY: Final = frozenset({"origin", "call", "name", "secrets", "asks", "limits"})


@dataclass(slots=True)
class _Chain:
    """The layers so far, and what holds after them."""

    key: str
    config: ImageConfig
    images: Mapping[str, str] = field(default_factory=dict)
    sources: str = ""
    says_cmd: bool = False
    steps: list[LayerStep] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, action: Action, said: Any, label: str, **rest: Any) -> None:
        """One more layer. said: what of the action makes a difference."""
        self.key = digest_of_parts("layer", self.key, said)
        self.steps.append(LayerStep(key=self.key, action=action, config=self.config, label=label, **rest))


def images_named(recipe: ImageRecipe) -> tuple[str, ...]:
    """The images, by their names in registries, that steps of `recipe` copy files from. Raises InvalidError as `plan_steps` does."""
    lines = [step.text for step in recipe.steps if isinstance(step, DockerfileCommands)]
    return tuple(dict.fromkeys(name for text in lines for name in parse_commands(text).images))


def plan_steps(base: Built, recipe: ImageRecipe, images: Mapping[str, str]) -> StepsPlan:
    """The layers that the steps of `recipe` make over `base`. images: the keys of those that `images_named` gives.

    Raises InvalidError for lines that no Dockerfile can have.
    """
    chain = _Chain(key=base.key, config=base.config, sources=recipe.sources, images=images)
    for step in recipe.steps:
        _add(chain, step)
    return StepsPlan(steps=tuple(chain.steps), config=chain.config, notes=tuple(chain.notes))


def plan_stage(ground: Built, stage: Stage, context: str, stages: Mapping[Any, str]) -> StepsPlan:
    """The layers that a stage of a Dockerfile makes over what it stands on.

    context: the tree of the files that are copied. stages: the keys of the images that the other stages made, by their index.
    """
    chain = _Chain(key=ground.key, config=ground.config)
    _add_stage(chain, stage, context, stages)
    return StepsPlan(steps=tuple(chain.steps), config=chain.config)


def final_key(built: Built, config: ImageConfig, adds: Iterable[AddLocal]) -> str:
    """What an image is known by: its layers, how it starts, and the local files that are added then."""
    return digest_of_parts("image", built.key, _config_said(config), [(add.remote, add.tree) for add in adds])


def _add(chain: _Chain, step: Step) -> None:
    config = chain.config
    match step:
        case Env():
            chain.config = replace(config, env={**config.env, **step.variables})
        case Workdir():
            chain.config = replace(config, workdir=step.path)
        case Entrypoint():
            # As with Docker: it has no use for the arguments that the base meant for its own.
            cmd = config.cmd if chain.says_cmd else None
            chain.config = replace(config, entrypoint=step.words, cmd=cmd)
        case Cmd():
            chain.says_cmd = True
            chain.config = replace(config, cmd=step.words)
        case Shell():
            chain.config = replace(config, shell=step.words)
        case AddLocal():
            if step.copy:
                chain.add(step, ["copied", step.remote, step.tree], step_label(step))
        case RunCommands():
            for command in step.commands:
                one = replace(step, commands=(command,))
                run = Run(
                    argv=(*config.shell, command),
                    env={**config.env, **step.env},
                    workdir=config.workdir,
                    user=config.user,
                )
                said = [dockerfile_step_to_json(run), step.build_id, *_said_of_gpu(step.gpu)]
                chain.add(run, said, step_label(one), secrets=step.secrets, takes=StepTakes(gpu=step.gpu))
        case DockerfileCommands():
            parsed = parse_commands(step.text, image=config)
            chain.notes += parsed.notes
            if step.build_id:
                chain.key = digest_of_parts("anew", chain.key, step.build_id)
            _add_stage(chain, parsed.target, step.context, chain.images, step.gpu)
        case PipInstall() | UvSync() | PoetryInstall():
            said = [_said(step), chain.sources, _started(config)]
            takes = StepTakes(gpu=step.gpu)
            chain.add(step, said, step_label(step), secrets=step.secrets, takes=takes)
        case AptInstall() | CondaInstall():
            said, takes = [_said(step), _started(config)], StepTakes(gpu=step.gpu)
            chain.add(step, said, step_label(step), secrets=step.secrets, takes=takes)
            if isinstance(step, CondaInstall):
                chain.config = with_environment(config)
        case RunFunction():
            said = [_said(step), _started(config)]
            takes = StepTakes(gpu=step.gpu, asks=step.asks, limits=step.limits)
            rest: dict[str, Any] = {"timeout_s": step.timeout_s, "takes": takes}
            chain.add(step, said, step_label(step), secrets=step.secrets, **rest)
        case _:
            assert_never(step)


def _add_stage(
    chain: _Chain, stage: Stage, context: str, stages: Mapping[Any, str], gpu: tuple[Gpus, ...] = ()
) -> None:
    for step in stage.steps:
        said: list[Any] = [dockerfile_step_to_json(step)]
        takes = NOTHING
        if isinstance(step, Copy):
            origin: int | str = step.image if step.stage is None else step.stage
            said.append(context if origin == "" else stages[origin])
        elif isinstance(step, Run):
            said += _said_of_gpu(gpu)
            takes = StepTakes(gpu=gpu)
        chain.add(step, said, _label(step), context=context, takes=takes)
    chain.config = stage.config


def _label(step: DockerfileStep) -> str:
    match step:
        case Run():
            words = step.argv[-1] if step.argv else step.script
            line, _, rest = words.strip().partition("\n")
            return f"RUN {line}{' ...' if rest else ''}"
        case Copy():
            names = [*step.sources, *step.addresses, *(file.name for file in step.inline)]
            return f"{'ADD' if step.unpack else 'COPY'} {' '.join(names)} {step.dest}"
        case MakeDirectory():
            return f"WORKDIR {step.path}"
        case _:
            assert_never(step)


def _said_of_gpu(gpu: tuple[Gpus, ...]) -> list[Any]:
    """What is compiled for one type of device may not run on another; a step without has the key that it ever had."""
    return [to_json(gpu)] if gpu else []


def _said(step: Step) -> dict[str, Any]:
    """What of a step makes a difference: not what it is called."""
    return {name: value for name, value in step_to_json(step).items() if name not in _NO_PART_OF_A_KEY}


def _started(config: ImageConfig) -> list[Any]:
    """What of a config a program notices that is started under it."""
    return [config.env, config.workdir, config.user]


def _config_said(config: ImageConfig) -> list[Any]:
    return [*_started(config), config.shell, config.entrypoint, config.cmd]
