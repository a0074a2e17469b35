from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from squall.model.errors import InvalidError, PythonVersionMismatch, SourceFileNotFound
from squall.model.gpu import parse_gpus
from squall.model.image_steps import CondaInstall, Env, PipInstall, Step
from squall.sdk.image import Image
from squall.sdk.image_recipe import Needed, read_image, recipe_of
from squall.sdk.secret import Secret

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
FORGE = "https://conda.anaconda.org/conda-forge"


@pytest.fixture(autouse=True)
def no_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONDA_CHANNEL_ALIAS", raising=False)


def steps(image: Image) -> tuple[Step, ...]:
    return tuple(step for step in recipe_of(image).recipe.steps if not isinstance(step, Env))


def conda(image: Image) -> CondaInstall:
    found = steps(image)[-1]
    assert isinstance(found, CondaInstall)
    return found


def _takes(number: int) -> None:
    pass


@pytest.mark.parametrize(("asked", "minor"), [("3.12", "3.12"), ("3.13.1", "3.13"), (None, HERE)])
def test_an_environment_begins_with_a_python_pip_and_micromamba(asked: str | None, minor: str) -> None:
    recipe = recipe_of(Image.micromamba(asked)).recipe
    # Beside it lies the client's Python, as in other images, whichever the environment has.
    assert (recipe.base, recipe.python_version) == ("debian_slim", None)
    assert steps(Image.micromamba(asked)) == (
        CondaInstall(packages=(f"python {minor}.*", "pip", "micromamba"), channels=(FORGE,), begins=True),
    )


def test_conda_packages_come_from_the_channels_that_are_named_or_else_from_one() -> None:
    image = Image.micromamba()
    assert conda(image.micromamba_install("numpy", ["scipy=1", "tool"])).channels == (FORGE,)
    named = conda(image.micromamba_install("a", channels=["bioconda", "https://host/it/"]))
    assert named.channels == ("https://conda.anaconda.org/bioconda", "https://host/it")
    assert conda(image.micromamba_install("a", channels="bioconda")).channels == named.channels[:1]
    own = conda(image.micromamba_install("numpy", "pytorch::torch >=2", channels=["conda-forge"]))
    assert own.channels == (FORGE, "https://conda.anaconda.org/pytorch")
    assert own.packages == ("numpy", "https://conda.anaconda.org/pytorch::torch >=2")


def test_a_machine_says_where_channels_lie_that_have_only_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipe_of(Image.micromamba().micromamba_install("a"))
    monkeypatch.setenv("CONDA_CHANNEL_ALIAS", "https://ada:hunter22@mirror.example/conda")
    needed = recipe_of(Image.micromamba().micromamba_install("a", channels=["b"]))
    assert before.secrets == {}
    assert set(needed.secrets.values()) == {"ada:hunter22"}
    channels = [step.channels for step in needed.recipe.steps if isinstance(step, CondaInstall)]
    assert all("@mirror.example/conda/" in channel for (channel,) in channels)
    monkeypatch.setenv("CONDA_CHANNEL_ALIAS", "mirror")
    with pytest.raises(InvalidError, match="CONDA_CHANNEL_ALIAS"):
        recipe_of(Image.micromamba())


def test_credentials_of_channels_are_in_no_recipe_and_no_repr() -> None:
    image = Image.micromamba().micromamba_install(
        "a", channels=["https://ada:hunter22@host/it", "https://host2/t/to-ken/it"]
    )
    needed: Needed = recipe_of(image)
    for shown in (str(needed.recipe.to_json()), repr(image.steps), repr(needed)):
        assert "hunter22" not in shown
        assert "to-ken" not in shown
    assert set(needed.secrets.values()) == {"ada:hunter22", "to-ken"}


def test_a_file_and_words_add_up_and_its_part_for_pip_is_a_step_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("idna\n")
    (tmp_path / "environment.yml").write_text("""
channels: [bioconda]
dependencies:
  - python=3.12
  - pip:
    - six >=1
    - -r more.txt
    - --extra-index-url https://ada:hunter22@host/simple
""")
    image = Image.micromamba().micromamba_install(
        "tool", spec_file=tmp_path / "environment.yml", channels=["a"]
    )
    needed = recipe_of(image, sources="digest")
    _, own, pip, _ = needed.recipe.steps
    assert isinstance(own, CondaInstall)
    assert isinstance(pip, PipInstall)
    assert own.packages == ("tool", "python=3.12")
    assert own.channels == ("https://conda.anaconda.org/a", "https://conda.anaconda.org/bioconda")
    assert (pip.packages, pip.requirements) == (("six >=1",), "idna")
    assert pip.extra_index_url[0].endswith("@host/simple")
    assert set(needed.secrets.values()) == {"ada:hunter22"}
    # Where pip's packages are found is a part of the recipe then, and not without them.
    assert needed.recipe.sources == "digest"
    assert recipe_of(Image.micromamba(), sources="digest").recipe.sources == ""


def test_a_list_of_package_files_stands_alone(tmp_path: Path) -> None:
    file = f"https://ada:hunter22@host/it/noarch/a-1-0.conda#{'a' * 32}"
    (tmp_path / "files.txt").write_text(f"@EXPLICIT\n{file}\n")
    listed = conda(Image.micromamba().micromamba_install(spec_file=tmp_path / "files.txt"))
    assert (listed.packages, listed.channels) == ((), ())
    assert [one.partition("@")[2] for one in listed.explicit] == [file.partition("@")[2]]
    for words, channels in (((), ["a"]), (("a",), [])):
        with pytest.raises(InvalidError, match="package files"):
            recipe_of(
                Image.micromamba().micromamba_install(
                    *words, spec_file=tmp_path / "files.txt", channels=channels
                )
            )


def test_files_are_read_when_the_image_is_needed_and_named_where_they_are_not_there() -> None:
    image = Image.micromamba().micromamba_install(spec_file="no/such/environment.yml")
    with pytest.raises(SourceFileNotFound, match="no/such"):
        recipe_of(image)


@pytest.mark.parametrize(
    ("words", "rest"),
    [
        ((), {}),
        ((1,), {}),
        (("",), {}),
        (("-c conda-forge",), {}),
        (("./a.conda",), {}),
        (("https://h/it/noarch/a-1-0.conda",), {}),
        (("a\nb",), {}),
        (("@a",), {}),
        (("../x::a",), {}),
        (("a",), {"channels": ["/srv/it"]}),
        (("a",), {"channels": [1]}),
        (("a",), {"env": {"A": 1}}),
        (("a",), {"secrets": ["A"]}),
    ],
)
def test_what_is_no_package_or_no_channel_is_refused_where_it_is_written(words: Any, rest: Any) -> None:
    with pytest.raises(InvalidError) as refused:
        Image.micromamba().micromamba_install(*words, **rest)
    assert refused.value.remedy


@pytest.mark.parametrize(
    "line", ["-e .", "-c constraints.txt", "./wheel.whl", "--index-url https://ada:pw@h/simple --pre -q"]
)
def test_what_pips_part_may_not_say_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "e.yml").write_text("dependencies: [a]\n".replace("[a]", f"\n- a\n- pip:\n  - {line}\n"))
    image = Image.micromamba().micromamba_install(spec_file=tmp_path / "e.yml")
    if line.startswith("--index-url"):
        with pytest.raises(InvalidError, match="names no package"):
            recipe_of(image)
    else:
        with pytest.raises(InvalidError):
            recipe_of(image)


def test_an_image_without_an_environment_takes_no_conda_packages() -> None:
    for image in (Image.debian_slim(), Image.from_registry("debian:13"), Image.from_scratch()):
        with pytest.raises(InvalidError, match=r"Image\.micromamba_install needs a conda environment"):
            image.micromamba_install("a")
    with pytest.raises(InvalidError, match="root of its own"):
        Image.host().micromamba_install("a")
    assert Image.from_id("abcdef").micromamba_install("a").steps
    assert Image.from_name("base").micromamba_install("a").steps


def test_a_step_may_have_devices_while_it_runs() -> None:
    assert conda(Image.micromamba().micromamba_install("a", gpu="H100")) == CondaInstall(
        packages=("a",), channels=(FORGE,), gpu=parse_gpus("H100")
    )


def test_a_function_that_is_run_in_it_travels_to_the_environments_python() -> None:
    other = "3.11" if HERE != "3.11" else "3.12"
    with pytest.raises(PythonVersionMismatch):
        read_image(Image.micromamba(other).run_function(_takes, args=(1,)))
    read_image(Image.micromamba().run_function(_takes, args=(1,)))


def test_secrets_of_a_step_go_with_its_build_and_are_names_in_the_recipe() -> None:
    image = Image.micromamba().micromamba_install(
        "a", secrets=[Secret.from_dict({"TOKEN": "hunter22"})], env={"B": "1"}
    )
    found = conda(image)
    assert (found.secrets, found.env) == (("TOKEN",), {"B": "1"})
    assert recipe_of(image).secrets == {"TOKEN": "hunter22"}
    own = Image.micromamba().micromamba_install(
        "a", channels=["https://${TOKEN}@host/it"], secrets=[Secret.from_dict({"TOKEN": "ada:hunter22"})]
    )
    assert conda(own).channels == ("https://${TOKEN}@host/it",)


def test_a_forced_step_is_another_one_each_time_and_the_same_image_to_its_program() -> None:
    first, second = (Image.micromamba().micromamba_install("a", force_build=True) for _ in range(2))
    assert conda(first) != conda(second)
    assert first.identity == second.identity
    assert first.identity != Image.micromamba().micromamba_install("b").identity
    assert Image.micromamba("3.12").identity != Image.micromamba("3.13").identity
