from __future__ import annotations

from collections.abc import Callable

import pytest

from squall.model.image import ClientPython, DockerfileImage, ImageRecipe, RegistryImage
from squall.model.image_steps import (
    AddLocal,
    AptInstall,
    Cmd,
    CondaInstall,
    DockerfileCommands,
    Entrypoint,
    Env,
    PipInstall,
    RunCommands,
    RunFunction,
    Shell,
    Step,
    UvSync,
    Workdir,
    step_label,
    step_to_json,
)

STEPS: tuple[Step, ...] = (
    Env(variables={"A": "1", "B": ""}),
    PipInstall(
        packages=("numpy>=2", "torch"),
        requirements="six\n",
        constraints="six<2\n",
        find_links=("/wheels",),
        index_url="https://${SQUALL_CREDENTIAL_R0}@example.org/simple",
        extra_index_url=("https://example.org/more",),
        pre=True,
        extra_options="--no-deps",
        env={"CC": "clang"},
        build_id="1",
        uv_version="0.9.1",
        dialect="uv",
        secrets=("TOKEN",),
    ),
    Workdir(path="/data"),
    AddLocal(kind="dir", remote="/data", tree="t" * 64, copy=False, origin="./data"),
)

A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
ROOTED: tuple[Step, ...] = (
    UvSync(pyproject="[project]", lock="version = 1", groups=("dev",), secrets=("TOKEN",)),
    AptInstall(packages=("curl=8.14.1-2", "libc6:amd64"), secrets=("TOKEN",)),
    CondaInstall(packages=("seed",), channels=("https://host/it",), begins=True, secrets=("TOKEN",)),
    RunCommands(commands=("make", "make install"), env={"A": "1"}, secrets=("TOKEN",), build_id="1"),
    RunFunction(name="f", says=A, call=B, python="3.12", timeout_s=60.0, secrets=("TOKEN",)),
    DockerfileCommands(text="COPY a /a", context=C),
    Entrypoint(words=("tini", "--")),
    Cmd(),
    Shell(words=("/bin/bash", "-c")),
    AddLocal(kind="file", remote="/usr/local/bin/x", tree=D, copy=True),
    RunFunction(name="g", says=B, call=A),
    DockerfileCommands(text="RUN a"),
    AddLocal(kind="file", remote="/x", tree=C),
)


def test_a_recipe_comes_back_from_its_plain_form() -> None:
    recipe = ImageRecipe(base="debian_slim", python_version="3.12", steps=STEPS)
    assert ImageRecipe.from_json(recipe.to_json()) == recipe
    rooted = ImageRecipe(base="registry", image=RegistryImage(reference="debian", login=True), steps=ROOTED)
    assert ImageRecipe.from_json(rooted.to_json()) == rooted
    assert [step["step"] for step in rooted.to_json()["steps"]][-3:] == [
        "run_function", "dockerfile_commands", "add_local",
    ]  # fmt: skip


def test_a_recipe_names_what_must_be_there_in_the_order_in_which_it_is_found() -> None:
    base = DockerfileImage(text="FROM x", context=B)
    recipe = ImageRecipe(base="dockerfile", dockerfile=base, steps=ROOTED)
    assert recipe.trees == (B, C, D)
    assert recipe.blobs == (B, A)
    assert (ImageRecipe().trees, ImageRecipe().blobs) == ((), ())


@pytest.mark.parametrize("step", ROOTED[:9], ids=step_label)
def test_what_writes_into_a_root_is_no_step_of_the_host(step: Step) -> None:
    with pytest.raises(ValueError, match="root of its own"):
        ImageRecipe(steps=(step,))
    with pytest.raises(ValueError, match="root of its own"):
        ImageRecipe.from_json({"steps": [step_to_json(step)]})


def test_a_step_is_written_as_it_was_where_nothing_new_is_said() -> None:
    """A new field must not change the key of what is built already."""
    assert step_to_json(PipInstall(packages=("six",))) == {"step": "pip_install", "packages": ["six"]}
    assert step_to_json(RunFunction(name="f", says=A, call=B)) == {
        "step": "run_function", "name": "f", "says": A, "call": B,
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: AptInstall(packages=()),
        lambda: AptInstall(packages=("--reinstall",)),
        lambda: CondaInstall(),
        lambda: CondaInstall(packages=("a",)),
        lambda: CondaInstall(packages=("a",), explicit=("b",), channels=("c",)),
        lambda: CondaInstall(packages=("a\nb",), channels=("c",)),
        lambda: RunCommands(commands=()),
        lambda: RunCommands(commands=(" ",)),
        lambda: RunCommands(commands=("a",), secrets=("A=B",)),
        lambda: PipInstall(packages=("six",), secrets=("A=B",)),
        lambda: RunFunction(name="f", says="short", call=A),
        lambda: RunFunction(name="f", says=A, call=A, timeout_s=0),
        lambda: UvSync(pyproject="[project]"),
        lambda: UvSync(pyproject=" ", frozen=False),
        lambda: DockerfileCommands(text=" "),
        lambda: DockerfileCommands(text="RUN a", context="../a"),
        lambda: DockerfileImage(text=""),
        lambda: DockerfileImage(text="FROM a", context="../a"),
        lambda: RegistryImage(reference=" "),
        lambda: Entrypoint(words=("a\0",)),
        lambda: Cmd(words=("a\0",)),
        lambda: Shell(words=()),
        lambda: ImageRecipe(base="registry"),
        lambda: ImageRecipe(base="host", image=RegistryImage(reference="a")),
        lambda: ImageRecipe(base="debian_slim", dockerfile=DockerfileImage(text="FROM a")),
    ],
)
def test_a_noun_that_makes_no_sense_cannot_be_written(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        wrong()


def test_nothing_at_all_is_the_host_image() -> None:
    assert ImageRecipe.from_json({}) == ImageRecipe(base="host")


@pytest.mark.parametrize(
    "plain",
    [
        {"base": "windows"},
        {"steps": "no list"},
        {"steps": [1]},
        {"steps": [{"step": "apt_install", "packages": ["x"]}]},
        {"steps": [{"step": "pip_install", "packages": ["x"], "dialect": "npm"}]},
        {"steps": [{"step": "pip_install", "packages": ["x"], "color": "red"}]},
        {"steps": [{"step": "workdir", "path": "relative"}]},
        {"steps": [{"step": "env", "variables": {"A=B": "x"}}]},
        {"python_version": "2.7"},
        {"unknown": 1},
    ],
)
def test_a_plain_form_that_says_no_recipe_is_refused(plain: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        ImageRecipe.from_json(plain)


def test_a_step_that_builds_cannot_follow_files_that_are_not_copied() -> None:
    add = AddLocal(kind="dir", remote="/data", tree="t", origin="./data")
    with pytest.raises(ValueError, match=r"\./data"):
        ImageRecipe(steps=(add, PipInstall(packages=("six",))))
    copied = AddLocal(kind="dir", remote="/data", tree="t", copy=True)
    assert ImageRecipe(steps=(copied, PipInstall(packages=("six",)), add, Env(variables={"A": "1"}), add))


@pytest.mark.parametrize("path", ["relative", "/a/../b", "/a//b", "/a/", "/a/./b", "/nul\0", ""])
def test_a_path_in_a_container_is_absolute_and_short(path: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Workdir(path=path)


@pytest.mark.parametrize("path", ["/", "/proc", "/squall/layers/x", "/lib64/x", "/dev/null", "/bin"])
def test_local_files_do_not_go_where_they_hide_what_programs_need(path: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        AddLocal(kind="dir", remote=path, tree="t")


def test_local_files_go_into_usr_of_an_image_with_a_root_of_its_own_alone() -> None:
    add = AddLocal(kind="dir", remote="/usr/share/x", tree="t")
    assert ImageRecipe(base="debian_slim", steps=(add,)).steps == (add,)
    with pytest.raises(ValueError, match="/usr"):
        ImageRecipe(steps=(add,))


def test_a_client_python_comes_back_from_its_plain_form() -> None:
    python = ClientPython(
        executable="/v/bin/python",
        prefix="/v",
        base_prefix="/usr",
        version="3.13.0",
        site_dirs=("/v/lib",),
        uv="/bin/uv",
    )
    assert ClientPython.from_json(python.to_json()) == python
    assert python.minor == "3.13"


def test_a_label_names_the_step_and_stays_short() -> None:
    many = tuple(f"p{number}" for number in range(9))
    assert step_label(PipInstall(packages=many)) == "pip_install p0 p1 p2 p3 p4 p5 and 3 more"
    assert step_label(PipInstall(requirements="six", dialect="uv")) == "uv_pip_install (requirements)"
    assert step_label(STEPS[3]) == "add_local_dir ./data -> /data"
