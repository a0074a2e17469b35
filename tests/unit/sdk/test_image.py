from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from squall.context import current
from squall.model.errors import ImageStepUnavailable, InvalidError
from squall.model.gpu import Gpus
from squall.model.image import ImageRecipe
from squall.model.resources import Limits, Resources
from squall.sdk.app import App
from squall.sdk.image import IDENTITY_VARIABLE, Image
from squall.sdk.image_declared import Call
from squall.sdk.image_recipe import read_image, recipe_of
from squall.sdk.secret import Secret


def _nothing() -> None:
    pass


def _takes(number: int, *, name: str = "") -> None:
    pass


async def _waits() -> None:
    pass


def _yields() -> Iterator[int]:
    yield 1


def test_an_image_never_changes_and_each_step_gives_a_new_one() -> None:
    plain = Image.host()
    more = plain.env({"A": "1"}).workdir("/data").pip_install("six")
    assert plain.steps == ()
    assert len(more.steps) == 3
    assert hash(more) == hash(plain.env({"A": "1"}).workdir("/data").pip_install("six"))


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14", "3.12.4", None])
def test_any_python_from_311_on_may_be_asked_for(version: str | None) -> None:
    asked = None if version is None else version[:4]
    assert Image.debian_slim(version).python_version == asked
    assert Image.from_registry("debian", add_python=version).python_version == asked
    assert Image.from_dockerfile("Dockerfile", add_python=version).python_version == asked


@pytest.mark.parametrize("version", ["3.10", "2.7", "3", "3.x", "", 3.12, "3.12.1.2", "3.12\n"])
def test_what_is_no_version_or_too_old_is_refused(version: Any) -> None:
    with pytest.raises(InvalidError) as raised:
        Image.debian_slim(version)
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("method", "option"),
    [
        (lambda image, **later: image.run_commands("a", **later), "volumes"),
        (lambda image, **later: image.run_function(_nothing, **later), "volumes"),
    ],
)
def test_options_that_come_later_say_so(method: Callable[..., Image], option: str) -> None:
    with pytest.raises(ImageStepUnavailable, match=rf"\({option}=\.\.\.\) is not in this version: "):
        method(Image.debian_slim(), **{option: "x"})


TOKEN = Secret.from_dict({"GITHUB_TOKEN": "t0ken"})
GIVEN_DEVICES: dict[str, Callable[..., Image]] = {
    "pip_install": lambda image, **gpu: image.pip_install("six", **gpu),
    "uv_pip_install": lambda image, **gpu: image.uv_pip_install("six", **gpu),
    "pip_install_from_requirements": lambda image, **gpu: image.pip_install_from_requirements("r.txt", **gpu),
    "pip_install_from_pyproject": lambda image, **gpu: image.pip_install_from_pyproject("p.toml", **gpu),
    "pip_install_private_repos": lambda image, **gpu: image.pip_install_private_repos(
        "github.com/o/n", git_user="ada", secrets=[TOKEN], **gpu
    ),
    "uv_sync": lambda image, **gpu: image.uv_sync(**gpu),
    "poetry_install_from_file": lambda image, **gpu: image.poetry_install_from_file("p.toml", **gpu),
    "apt_install": lambda image, **gpu: image.apt_install("jq", **gpu),
    "run_commands": lambda image, **gpu: image.run_commands("a", **gpu),
    "run_function": lambda image, **gpu: image.run_function(_nothing, **gpu),
    "dockerfile_commands": lambda image, **gpu: image.dockerfile_commands("RUN a", **gpu),
}


@pytest.mark.parametrize("method", GIVEN_DEVICES)
def test_a_step_may_ask_for_devices_as_a_function_does(method: str) -> None:
    declare = GIVEN_DEVICES[method]
    (step,) = declare(Image.debian_slim(), gpu=["h100:2", "any"]).steps
    assert getattr(step, "gpu") == (Gpus(type="H100", count=2), Gpus())  # noqa: B009 - not every step has it
    bare = declare(Image.debian_slim())
    assert declare(Image.debian_slim(), gpu="T4").identity != bare.identity
    for wrong in ("H100:0", "H100:17", "", [], ["T4", "T4"], 1, "A100-17GB"):
        with pytest.raises(InvalidError, match=rf"Image\.{method}: gpu") as raised:
            declare(Image.debian_slim(), gpu=wrong)
        assert raised.value.remedy


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"poetry_version": "2 --index x"}, "no version of Poetry"),
        ({"poetry_version": 2}, "no version of Poetry"),
        ({"with_": ["a b"]}, "no name of a dependency group"),
        ({"only": ["--all"]}, "no name of a dependency group"),
        ({"without": [3]}, "no string"),
        ({"extra_options": "--index-url http://x"}, "which the project says"),
        ({"extra_options": "'"}, "cannot be read"),
    ],
)
def test_what_poetry_is_not_to_be_told_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        Image.debian_slim().poetry_install_from_file("pyproject.toml", **options)


def test_a_function_of_a_build_is_given_bounds_as_one_that_is_called() -> None:
    def taken(**options: Any) -> tuple[Resources, Limits | None]:
        (step,) = Image.debian_slim().run_function(_nothing, **options).steps
        assert isinstance(step, Call)
        return step.asks, step.limits

    assert taken() == (Resources(), None)
    assert taken(memory=512) == (Resources(memory_mib=512), Limits(memory_mib=512))
    assert taken(cpu=2) == (Resources(cpu_milli=2000), Limits())
    both = Resources(cpu_milli=500, memory_mib=100)
    assert taken(cpu=(0.5, 1.5), memory=(100, 300)) == (both, Limits(cpu_milli=1500, memory_mib=300))


@pytest.mark.parametrize("option", ["cpu", "memory"])
@pytest.mark.parametrize(
    "wrong", [0, -1, "1", True, (2, 1), (1,), (1, 2, 3), (None, 1), [1, 2], float("nan"), float("inf")]
)
def test_what_is_no_amount_is_refused_by_the_name_of_the_option(option: str, wrong: Any) -> None:
    with pytest.raises(InvalidError, match=rf"Image\.run_function: {option}"):
        Image.debian_slim().run_function(_nothing, **{option: wrong})


ROOTED: tuple[Callable[[Image], Image], ...] = (
    lambda image: image.apt_install("git"),
    lambda image: image.run_commands("make"),
    lambda image: image.run_function(_nothing),
    lambda image: image.dockerfile_commands("RUN make"),
    lambda image: image.uv_sync(),
    lambda image: image.poetry_install_from_file("pyproject.toml"),
    lambda image: image.entrypoint([]),
    lambda image: image.cmd([]),
    lambda image: image.shell(["/bin/sh", "-c"]),
)


@pytest.mark.parametrize("step", ROOTED)
def test_what_writes_into_a_root_is_refused_on_this_machine_itself(step: Callable[[Image], Image]) -> None:
    with pytest.raises(InvalidError, match=r"Image\.host\(\) is this machine") as raised:
        step(Image.host())
    assert raised.value.remedy == "start from Image.debian_slim()"
    bases = (
        Image.debian_slim(),
        Image.from_registry("debian"),
        Image.from_dockerfile("D"),
        Image.from_scratch(),
    )
    assert all(len(step(base).steps) == 1 for base in bases)


def test_a_step_that_builds_cannot_follow_files_that_are_not_copied() -> None:
    image = Image.host().add_local_dir("data", "/data")
    late: tuple[Callable[[], Image], ...] = (
        lambda: image.pip_install("six"),
        lambda: image.add_local_file("x", "/x", copy=True),
    )
    for step in late:
        with pytest.raises(InvalidError, match="'data'") as raised:
            step()
        assert "copy=True" in raised.value.remedy
    rooted = Image.debian_slim().add_local_dir("data", "/data")
    for builds in ROOTED[:6]:
        with pytest.raises(InvalidError, match="'data'"):
            builds(rooted)
    for says in ROOTED[6:]:
        assert len(says(rooted).steps) == 2
    copied = Image.host().add_local_dir("data", "/data", copy=True).pip_install("six")
    assert len(copied.env({"A": "1"}).add_local_file("x", "/x").add_local_file("y", "/y/").steps) == 5


@pytest.mark.parametrize(
    "wrong",
    [
        lambda image: image.pip_install(),
        lambda image: image.pip_install(""),
        lambda image: image.pip_install(7),
        lambda image: image.pip_install("-e ."),
        lambda image: image.pip_install("--no-deps"),
        lambda image: image.pip_install("./pkg"),
        lambda image: image.pip_install("/abs/pkg"),
        lambda image: image.pip_install("pkg @ file:///x.whl"),
        lambda image: image.pip_install("six", extra_options="--index-url"),
        lambda image: image.pip_install("six", extra_options="'unclosed"),
        lambda image: image.pip_install("six", extra_options="--cert https://u:p@x/"),
        lambda image: image.pip_install("six", env={"A": 1}),
        lambda image: image.env({"A=B": "1"}),
        lambda image: image.env({"A": 1}),
        lambda image: image.workdir("relative"),
        lambda image: image.add_local_dir(".", "relative"),
        lambda image: image.add_local_dir(".", "/usr/local/x"),
        lambda image: image.add_local_dir(".", "/"),
        lambda image: image.add_local_python_source("a.b"),
        lambda image: image.add_local_python_source("a.py"),
        lambda image: image.pip_install("six", secrets={"A": "1"}),
        lambda image: image.pip_install("six", secrets=Secret.from_dict({"A": "1"})),
        lambda image: image.pip_install("six", secrets=["hunter2"]),
    ],
)
def test_bad_words_are_refused_where_they_are_written(wrong: Callable[[Image], Image]) -> None:
    with pytest.raises(InvalidError) as raised:
        wrong(Image.host())
    assert raised.value.remedy


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Image.debian_slim().apt_install(),
        lambda: Image.debian_slim().apt_install("-y"),
        lambda: Image.debian_slim().apt_install("Bad Name"),
        lambda: Image.debian_slim().run_commands(),
        lambda: Image.debian_slim().run_commands(" "),
        lambda: Image.debian_slim().run_commands(7),  # type: ignore[arg-type]  # on purpose
        lambda: Image.debian_slim().run_commands("a\0b"),
        lambda: Image.debian_slim().run_commands("a", env={"A=B": "1"}),
        lambda: Image.debian_slim().run_commands("a", env=["A"]),  # type: ignore[arg-type]  # on purpose
        lambda: Image.debian_slim().run_function(print),
        lambda: Image.debian_slim().run_function(Image),
        lambda: Image.debian_slim().run_function(_waits),
        lambda: Image.debian_slim().run_function(_yields),
        lambda: Image.debian_slim().run_function(_takes),
        lambda: Image.debian_slim().run_function(_takes, args=(1, 2)),
        lambda: Image.debian_slim().run_function(_takes, args=(1,), kwargs={"other": 1}),
        lambda: Image.debian_slim().run_function(_nothing, timeout=0),
        lambda: Image.debian_slim().run_function(_nothing, timeout=float("nan")),
        lambda: Image.debian_slim().dockerfile_commands(),
        lambda: Image.debian_slim().dockerfile_commands("", " "),
        lambda: Image.debian_slim().dockerfile_commands("COPY a b", context_files={"/a": "x"}),
        lambda: Image.debian_slim().dockerfile_commands("COPY a b", context_files={"../a": "x"}),
        lambda: Image.debian_slim().entrypoint("tini --"),
        lambda: Image.debian_slim().cmd(["a", 1]),  # type: ignore[list-item]  # on purpose
        lambda: Image.debian_slim().shell([]),
        lambda: Image.debian_slim().uv_sync(extra_options="--index https://h/simple"),
        lambda: Image.debian_slim().add_local_dir(".", "/bin/x"),
        lambda: Image.debian_slim().add_local_dir(".", "/proc"),
        lambda: Image.from_registry(""),
        lambda: Image.from_registry("debian", Secret.from_dict({"PASSWORD": "x"})),
        lambda: Image.from_registry("debian", ("ada", "pw")),  # type: ignore[arg-type]  # on purpose
        lambda: Image.from_dockerfile("D", build_args={"A": 1}),  # type: ignore[dict-item]  # on purpose
    ],
)
def test_bad_words_of_images_with_a_root_are_refused_where_they_are_written(
    wrong: Callable[[], Image],
) -> None:
    with pytest.raises(InvalidError) as raised:
        wrong()
    assert raised.value.remedy


def test_what_was_meant_as_a_secret_is_not_shown() -> None:
    with pytest.raises(InvalidError) as raised:
        Image.debian_slim().run_commands("a", secrets=["hunter2"])  # type: ignore[list-item]  # on purpose
    assert "hunter2" not in f"{raised.value} {raised.value.remedy}"


def test_local_files_may_go_into_usr_of_an_image_with_a_root_of_its_own() -> None:
    assert len(Image.debian_slim().add_local_file("x", "/usr/local/bin/").steps) == 1


def test_setup_lines_of_an_image_from_a_registry_come_first() -> None:
    image = Image.from_registry("debian", setup_dockerfile_commands=["RUN a"]).run_commands("b")
    assert image == Image.from_registry("debian").dockerfile_commands("RUN a").run_commands("b")
    assert Image.from_registry("debian", setup_dockerfile_commands=[]) == Image.from_registry("debian")


def test_pipe_puts_steps_of_ones_own_into_a_chain() -> None:
    def with_tools(image: Image, *names: str, pre: bool = False) -> Image:
        return image.pip_install(*names, pre=pre)

    assert Image.host().pipe(with_tools, "six", pre=True) == Image.host().pip_install("six", pre=True)


def test_a_forced_build_is_another_image_each_time() -> None:
    one, two = (recipe_of(Image.host().pip_install("six", force_build=True)).recipe for _ in range(2))
    assert one != two
    assert recipe_of(Image.host().pip_install("six")) == recipe_of(Image.host().pip_install("six"))
    forced: tuple[Callable[[], Image], ...] = (
        lambda: Image.from_registry("debian", force_build=True),
        lambda: Image.debian_slim().apt_install("git", force_build=True),
        lambda: Image.debian_slim().run_commands("make", force_build=True),
        lambda: Image.debian_slim().run_function(_nothing, force_build=True),
        lambda: Image.debian_slim().dockerfile_commands("RUN make", force_build=True),
    )
    for declare in forced:
        assert recipe_of(declare()).recipe.to_json() != recipe_of(declare()).recipe.to_json()
        assert declare().identity == declare().identity


def test_imports_are_passed_over_at_the_client_and_only_where_they_are_missing() -> None:
    with Image.host().imports():
        importlib.import_module("squall_has_no_such_module")
    with pytest.raises(ZeroDivisionError), Image.host().imports():
        1 / 0  # noqa: B018


def _declared(home: str) -> Image:
    """An image with a step of each kind, as a file at some place declares it."""
    secret = Secret.from_dict({"TOKEN": home})
    return (
        Image.from_registry("debian", Secret.from_dict({"REGISTRY_USERNAME": "a", "REGISTRY_PASSWORD": home}))
        .pip_install("six", find_links=f"{home}/wheels", force_build=True, secrets=[secret])
        .pip_install_from_requirements(f"{home}/requirements.txt")
        .pip_install_from_pyproject(f"{home}/pyproject.toml", ["gpu"])
        .uv_sync(home)
        .apt_install("git", force_build=True)
        .run_commands("make", secrets=[secret])
        .run_function(_takes, args=(1,), kwargs={"name": "x"})
        .dockerfile_commands("COPY a /a", context_files={"a": f"{home}/a"}, context_dir=home)
        .shell(["/bin/bash", "-c"])
        .add_local_dir(f"{home}/data", "/data", ignore=lambda path: path == home)
    )


def test_an_image_has_one_identity_wherever_its_program_lies() -> None:
    assert _declared("/home/ada/pictures").identity == _declared("/app").identity
    dockerfile = [Image.from_dockerfile(f"{home}/Dockerfile", context_dir=home) for home in ("/a", "/b")]
    assert dockerfile[0].identity == dockerfile[1].identity


def test_images_that_say_something_else_have_another_identity() -> None:
    image = Image.debian_slim()
    others = [
        image,
        Image.host(),
        Image.from_scratch(),
        Image.debian_slim("3.12"),
        Image.from_registry("debian"),
        Image.from_registry("ubuntu"),
        Image.from_dockerfile("Dockerfile"),
        Image.from_dockerfile("Dockerfile", build_args={"A": "1"}),
        *(step(image) for step in ROOTED),
        image.run_commands("make clean"),
        image.run_function(_takes, args=(1,)),
        image.run_function(_takes, args=(2,)),
        image.entrypoint(["tini"]),
        image.pip_install("six"),
        image.pip_install("six", pre=True),
        image.uv_pip_install("six"),
    ]
    assert len({each.identity for each in others}) == len(others)


def test_imports_raise_in_containers_of_that_image_and_of_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.host().pip_install("six", find_links="~/wheels", force_build=True)
    variables = [step for step in recipe_of(image).recipe.to_json()["steps"] if step["step"] == "env"]
    inside = current.Container(id="co-1", function="f", app="a", link=None)
    monkeypatch.setattr(current, "container", inside)
    monkeypatch.setenv(IDENTITY_VARIABLE, variables[-1]["variables"][IDENTITY_VARIABLE])
    # Declared again in the container: elsewhere, with another home and another id for the forced build.
    again = Image.host().pip_install("six", find_links="~/wheels", force_build=True)
    with pytest.raises(ModuleNotFoundError), again.imports():
        importlib.import_module("squall_has_no_such_module")
    with Image.host().pip_install("torch").imports():
        importlib.import_module("squall_has_no_such_module")


def test_an_image_that_was_built_is_named_by_its_key() -> None:
    image = Image.from_id("0123abcd").run_commands("true")
    recipe = recipe_of(image).recipe
    assert (recipe.base, recipe.built) == ("built", "0123abcd")
    assert ImageRecipe.from_json(recipe.to_json()) == recipe
    assert image.identity != Image.from_id("0123abce").run_commands("true").identity
    for wrong in ("", "0123a", "0123ABCD", "../../etc", "g" * 8, "a" * 65):
        with pytest.raises(InvalidError, match="no key of an image"):
            Image.from_id(wrong)
    with pytest.raises(ValueError, match="the base of that name"):
        ImageRecipe(base="built")


def test_an_image_that_was_published_is_known_by_its_name_and_built_on_what_that_means() -> None:
    image = Image.from_name("base").run_commands("true")
    read = replace(read_image(image), meant="0" * 64)
    recipe = recipe_of(image, read=read).recipe
    assert (recipe.base, recipe.built) == ("built", "0" * 64)
    assert recipe.to_json()["steps"][-1]["variables"] == {IDENTITY_VARIABLE: image.identity}
    assert image == Image.from_name("base:latest").run_commands("true")
    assert image.identity != Image.from_name("base:1").run_commands("true").identity
    for wrong in ("", "Base", "base:", "base:a/b", 3):
        with pytest.raises(InvalidError, match="name"):
            Image.from_name(wrong)  # type: ignore[arg-type] # as a program may


def test_in_a_container_nothing_is_built_or_published(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = current.Container(id="co-1", function="f", app="a", link=None)
    monkeypatch.setattr(current, "container", inside)
    with pytest.raises(InvalidError, match=r"image\.publish\(\) is for the client"):
        Image.debian_slim().publish("base")
    with pytest.raises(InvalidError, match=r"image\.build\(\) is for the client"):
        Image.debian_slim().build(App("a"))


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Image.host(), "this machine"),
        (Image.debian_slim().add_local_file("a", "/a"), "'a' are added only when a container starts"),
    ],
)
def test_what_a_name_could_not_mean_whole_is_refused(image: Image, said: str) -> None:
    with pytest.raises(InvalidError, match=said) as raised:
        image.publish("base")
    assert raised.value.remedy
    with pytest.raises(InvalidError, match="no name for an image"):
        image.publish("no name")


def test_an_image_is_built_for_an_app() -> None:
    with pytest.raises(InvalidError, match=r"takes a squall\.App"):
        Image.debian_slim().build("app")
