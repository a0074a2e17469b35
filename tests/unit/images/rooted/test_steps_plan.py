from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from squall.images.dockerfile.nouns import Copy, ImageConfig, MakeDirectory, Run
from squall.images.dockerfile.read import parse
from squall.images.rooted.nouns import Built, LayerStep
from squall.images.rooted.plan import final_key, images_named, plan_stage, plan_steps
from squall.model.errors import InvalidError
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
)
from squall.model.resources import Limits, Resources
from squall.model.step_takes import NOTHING, StepTakes

BASE = Built(key="b" * 64, trees=("t" * 64,), config=ImageConfig(env={"PATH": "/bin"}))
APT, PIP = AptInstall(packages=("jq",)), PipInstall(packages=("six",))
TREE, OTHER = "1" * 64, "2" * 64
POETRY = PoetryInstall(pyproject="p", lock="l")
H100 = (Gpus(type="H100"),)


def plan(*steps: Step, base: Built = BASE, sources: str = "") -> tuple[LayerStep, ...]:
    return plan_steps(base, ImageRecipe(base="debian_slim", steps=steps, sources=sources), {}).steps


def keys(*steps: Step, **rest: object) -> list[str]:
    return [one.key for one in plan(*steps, **rest)]  # type: ignore[arg-type]


def test_changing_the_last_step_leaves_all_before_it() -> None:
    one, other = keys(APT, PIP, RunCommands(commands=("a",))), keys(APT, PIP, RunCommands(commands=("b",)))
    assert one[:2] == other[:2]
    assert one[2] != other[2]


def test_a_key_holds_all_that_went_in_before() -> None:
    assert keys(APT, PIP)[1] != keys(AptInstall(packages=("curl",)), PIP)[1]
    assert keys(APT, base=replace(BASE, key="c" * 64)) != keys(APT)
    assert keys(PIP, sources="x") != keys(PIP)
    assert keys(APT, sources="x") == keys(APT)


@pytest.mark.parametrize(
    "before",
    [Env(variables={"A": "1"}), Workdir(path="/srv")],
    ids=["env", "workdir"],
)
def test_what_holds_while_a_step_runs_is_in_its_key(before: Step) -> None:
    for step in (APT, PIP, RunCommands(commands=("a",)), RunFunction(name="f", says=TREE, call=OTHER)):
        assert keys(step) != keys(before, step)


def test_a_shell_is_in_the_keys_of_commands_only() -> None:
    shell = Shell(words=("/bin/bash", "-c"))
    assert keys(APT) == keys(shell, APT)
    assert keys(RunCommands(commands=("a",))) != keys(shell, RunCommands(commands=("a",)))
    (step,) = plan(shell, RunCommands(commands=("a b",)))
    assert step.action == Run(argv=("/bin/bash", "-c", "a b"), env={"PATH": "/bin"})


def test_each_command_is_a_layer_and_secrets_are_named_and_in_no_key() -> None:
    steps = plan(RunCommands(commands=("a", "b"), secrets=("TOKEN",), env={"X": "1"}))
    assert [step.label for step in steps] == ["run_commands a", "run_commands b"]
    assert [step.secrets for step in steps] == [("TOKEN",), ("TOKEN",)]
    assert steps[0].action == Run(argv=("/bin/sh", "-c", "a"), env={"PATH": "/bin", "X": "1"})
    assert keys(RunCommands(commands=("a",), secrets=("TOKEN",))) == keys(RunCommands(commands=("a",)))


def test_a_step_of_conda_is_known_by_all_that_it_says_and_its_programs_come_first_behind_it() -> None:
    conda = CondaInstall(packages=("seed",), channels=("https://host/it",))
    others = [
        replace(conda, packages=("seed=1",)), replace(conda, channels=("https://other/it",)),
        replace(conda, packages=(), channels=(), explicit=("https://host/it/noarch/seed-1-0.conda",)),
        replace(conda, env={"CONDA_OVERRIDE_CUDA": "12"}), replace(conda, build_id="now"), replace(conda, begins=True),
    ]  # fmt: skip
    assert len({*map(tuple, map(keys, (conda, *others)))}) == 1 + len(others)
    assert keys(conda) == keys(replace(conda, secrets=("TOKEN",)))
    assert keys(conda, sources="x") == keys(conda)
    first, run = plan(conda, RunCommands(commands=("a",)))
    assert first.config.env == {"PATH": "/bin"}
    assert isinstance(run.action, Run)
    assert run.action.env["PATH"] == "/opt/conda/bin:/bin"
    assert run.action.env["CONDA_PREFIX"] == "/opt/conda"


def test_force_build_builds_this_step_and_those_after_it_anew() -> None:
    forced = replace(APT, build_id="now")
    one, other = keys(RunCommands(commands=("a",)), APT, PIP), keys(RunCommands(commands=("a",)), forced, PIP)
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert one[2] != other[2]
    lines = DockerfileCommands(text="RUN x")
    assert keys(lines) != keys(replace(lines, build_id="now"))


@pytest.mark.parametrize(
    "step",
    [
        *(APT, PIP, UvSync(pyproject="p", lock="l"), POETRY, RunCommands(commands=("a",))),
        *(RunFunction(name="f", says=TREE, call=OTHER), DockerfileCommands(text="RUN a")),
    ],
    ids=lambda step: type(step).__name__,
)
def test_the_type_of_a_device_is_in_a_key_and_what_a_step_takes_of_the_machine(step: Any) -> None:
    given = replace(step, gpu=H100)
    assert len({*keys(step), *keys(given), *keys(replace(step, gpu=(*H100, Gpus())))}) == 3
    assert [one.takes for one in plan(step)] == [NOTHING]
    assert [one.takes for one in plan(given)] == [StepTakes(gpu=H100)]


def test_only_what_runs_of_a_dockerfile_is_given_devices() -> None:
    lines = DockerfileCommands(text="WORKDIR /srv\nCOPY a .\nRUN b", context=TREE, gpu=H100)
    assert [bool(one.takes.gpu) for one in plan(lines)] == [False, False, True]
    assert keys(lines)[:2] == keys(replace(lines, gpu=()))[:2]


def test_bounds_are_in_no_key() -> None:
    step = RunFunction(name="f", says=TREE, call=OTHER)
    bound = replace(step, asks=Resources(memory_mib=64), limits=Limits(memory_mib=64))
    assert keys(step) == keys(bound)
    (one,) = plan(bound)
    assert one.takes == StepTakes(asks=bound.asks, limits=bound.limits)


def test_what_people_call_a_step_is_in_no_key() -> None:
    add = AddLocal(kind="file", remote="/data/x", tree=TREE, copy=True, origin="x")
    assert keys(add) == keys(replace(add, origin="./x"))
    assert keys(add) != keys(replace(add, tree=OTHER))
    function = RunFunction(name="f", says=TREE, call=TREE)
    assert keys(function) == keys(replace(function, name="g", call=OTHER))
    assert keys(function) != keys(replace(function, says=OTHER))


def test_files_that_are_added_at_the_start_are_no_layer_and_in_the_last_key() -> None:
    add = AddLocal(kind="file", remote="/data/x", tree=TREE)
    assert plan(APT, add) == plan(APT)
    assert final_key(BASE, BASE.config, (add,)) != final_key(BASE, BASE.config, ())


def test_config_steps_follow_docker() -> None:
    steps: tuple[Step, ...] = (
        Entrypoint(words=("one",)),
        Entrypoint(words=("two",)),
        Env(variables={"A": "1"}),
        Env(variables={"A": "2", "B": "3"}),
        Workdir(path="/srv"),
    )
    base = replace(BASE, config=replace(BASE.config, cmd=("of", "the", "base")))
    config = plan_steps(base, ImageRecipe(base="debian_slim", steps=steps), {}).config
    assert (config.entrypoint, config.cmd) == (("two",), None)
    said = (Cmd(words=("a",)), *steps)
    assert plan_steps(base, ImageRecipe(base="debian_slim", steps=said), {}).config.cmd == ("a",)
    assert config.env == {"PATH": "/bin", "A": "2", "B": "3"}
    assert config.workdir == "/srv"


def test_lines_of_a_dockerfile_are_layers_over_what_holds() -> None:
    lines = DockerfileCommands(text="WORKDIR /srv\nENV X=1\nRUN echo $X\nCOPY a b /srv/\n", context=TREE)
    found = plan_steps(BASE, ImageRecipe(base="debian_slim", steps=(Env(variables={"Y": "2"}), lines)), {})
    assert [type(step.action) for step in found.steps] == [MakeDirectory, Run, Copy]
    assert [step.label for step in found.steps] == ["WORKDIR /srv", "RUN echo $X", "COPY a b /srv/"]
    run = found.steps[1].action
    assert isinstance(run, Run)
    assert (run.env, run.workdir) == ({"PATH": "/bin", "Y": "2", "X": "1"}, "/srv")
    assert found.config.env == {"PATH": "/bin", "Y": "2", "X": "1"}
    relaid = replace(lines, context=OTHER)
    other = plan_steps(BASE, ImageRecipe(base="debian_slim", steps=(Env(variables={"Y": "2"}), relaid)), {})
    assert [a.key == b.key for a, b in zip(found.steps, other.steps, strict=True)] == [True, True, False]


def test_a_line_that_no_dockerfile_can_have_is_named() -> None:
    with pytest.raises(InvalidError, match="line 2"):
        plan(DockerfileCommands(text="RUN true\nWRONG x\n"))


def test_a_stage_copies_from_what_another_stage_has_become() -> None:
    stage = parse("FROM a AS one\nRUN x\nFROM a\nCOPY --from=one /x /y\n").target
    first = plan_stage(BASE, stage, "", {0: "k" * 64}).steps
    second = plan_stage(BASE, stage, "", {0: "l" * 64}).steps
    assert first[0].key != second[0].key


def test_lines_copy_from_what_an_image_of_a_registry_is_now() -> None:
    recipe = ImageRecipe(base="debian_slim", steps=(DockerfileCommands(text="COPY --from=tools:1 /x /y"),))
    assert images_named(recipe) == ("tools:1",)
    first, second = (plan_steps(BASE, recipe, {"tools:1": key * 64}).steps[0].key for key in "ab")
    assert first != second
