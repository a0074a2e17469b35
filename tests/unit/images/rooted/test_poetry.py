from __future__ import annotations

import shlex

import pytest

from squall.images.command import Exit, Places, Tool, failure
from squall.images.dockerfile.nouns import ImageConfig
from squall.images.installer import InstallerSettings
from squall.images.rooted.commands import INPUTS, Means, command_of
from squall.images.rooted.nouns import Interpreter, LayerStep
from squall.images.rooted.poetry import groups_of, script_of, settings_of
from squall.model.errors import ImageBuildError, PackageNotFound
from squall.model.image_steps import PoetryInstall

UV = Tool(kind="uv", argv=("/b/uv",), origin="test", uv="/opt/uv")
PLACES = Places(target="", inputs="/in", cache="/cache", home="/root")
PYTHON = Interpreter(path="/usr/bin/python3", prefix="/usr", version="3.12.1", packages=())
PYPROJECT = """
[tool.poetry.group.dev.dependencies]
a = "*"
[tool.poetry.group.docs]
optional = true
[dependency-groups]
lint = ["b"]
"""


def export(**fields: object) -> list[str]:
    """The words of the command by which requirements are written."""
    step = PoetryInstall(pyproject=PYPROJECT, **fields)  # type: ignore[arg-type]
    line = next(line for line in script_of(step, UV, "/py", PLACES).splitlines() if line.startswith("said="))
    words = shlex.split(line.removeprefix("said=$(HOME=/in ").partition(" 2>&1")[0])
    return words[words.index("export") :] if fields else words


def test_groups_are_those_that_poetry_install_would_take() -> None:
    assert groups_of(PYPROJECT) == ("dev", "lint")
    assert groups_of("[tool.poetry.dev-dependencies]\nx = '*'") == ("dev",)
    assert groups_of("[project]\nname = 'x'") == ()
    assert groups_of("tool = 1\n") == ()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"extra_options": ""}, "--with dev,lint"),
        ({"with_groups": ("docs", "dev")}, "--with dev,lint,docs"),
        ({"without_groups": ("dev",)}, "--with lint"),
        ({"without_groups": ("dev", "lint", "main")}, "--without main"),
        ({"without_groups": ("nope",)}, "--with dev,lint --without nope"),
        ({"only_groups": ("docs", "main")}, "--only docs,main"),
        ({"extra_options": "--extras 'a b'"}, "--with dev,lint --extras 'a b'"),
    ],
)
def test_poetry_is_told_the_groups(fields: dict[str, object], words: str) -> None:
    said = export(**fields)
    assert said[said.index("--with-credentials") + 1 :] == shlex.split(words)


def test_poetry_is_a_tool_of_the_build_and_of_the_version_that_is_asked_for() -> None:
    words = export()
    assert words[:5] == ["/b/uv", "tool", "run", "--python", "/py"]
    assert words[words.index("--from") + 1] == "poetry"
    old = PoetryInstall(pyproject="x=1", poetry_version="1.8.5")
    assert "--from poetry==1.8.5 --with poetry-plugin-export poetry export" in script_of(
        old, UV, "/py", PLACES
    )
    own = script_of(PoetryInstall(pyproject="x=1", poetry_version=""), UV, "/py", PLACES)
    assert "said=$(HOME=/in poetry export" in own
    assert all(path.startswith(("/in/", "/cache")) for path in settings_of(PLACES).values() if "/" in path)


def test_a_login_in_an_address_is_in_the_projects_file_and_nowhere_else() -> None:
    step = PoetryInstall(
        pyproject='url = "http://${SQUALL_CREDENTIAL_R1}@index/simple"', lock="lock", secrets=("TOKEN",)
    )
    layer = LayerStep(key="k", action=step, config=ImageConfig(), label="poetry", secrets=("TOKEN",))
    settings = InstallerSettings(secrets={"SQUALL_CREDENTIAL_R1": "ada:s3cret", "TOKEN": "t0ken"})
    made = command_of(layer, Means(python=PYTHON, tool=UV, settings=settings))
    assert "s3cret" in made.command.files["pyproject.toml"]
    assert made.command.files["poetry.lock"] == "lock"
    assert made.writes_inputs
    assert made.command.env["TOKEN"] == "t0ken"
    for text in (
        *made.command.argv,
        made.command.shown,
        *(v for k, v in made.command.env.items() if k != "TOKEN"),
    ):
        assert "s3cret" not in text
        assert "t0ken" not in text
    assert "--with-credentials" not in made.command.argv[-1], "Poetry would write the login twice"
    assert f"-r {INPUTS}/poetry-requirements.txt" in made.command.argv[-1]


def test_without_uv_or_a_python_the_step_is_named() -> None:
    layer = LayerStep(key="k", action=PoetryInstall(pyproject="x=1"), config=ImageConfig(), label="poetry it")
    for means in (Means(python=PYTHON), Means(tool=UV)):
        with pytest.raises(ImageBuildError, match="poetry it needs"):
            command_of(layer, means)


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (
            "pyproject.toml changed significantly since poetry.lock was last generated. Run `poetry lock`",
            ImageBuildError,
            "poetry.lock does not say",
        ),
        (
            "Warning: poetry.lock is not consistent with pyproject.toml. You may be getting improper dependencies.",
            ImageBuildError,
            "poetry.lock does not say",
        ),
        ("/bin/sh: 2: poetry: not found", ImageBuildError, "no Poetry"),
        (
            "Because it depends on nope (^1.0) which doesn't match any versions, version solving failed.",
            PackageNotFound,
            "no version of nope fits",
        ),
    ],
)
def test_what_poetry_says_is_told_with_what_to_do(said: str, kind: type[Exception], words: str) -> None:
    layer = LayerStep(key="k", action=PoetryInstall(pyproject="x=1"), config=ImageConfig(), label="poetry")
    command = command_of(layer, Means(python=PYTHON, tool=UV)).command
    error = failure("poetry", command, Exit(code=1), [said])
    assert type(error) is kind
    assert words in error.message
    assert error.remedy != ImageBuildError.remedy
