from __future__ import annotations

import importlib
import sys
from collections.abc import Callable

import pytest

from squall.context import current
from squall.model.errors import ImageStepUnavailable, InvalidError, PythonVersionMismatch
from squall.sdk.image import IDENTITY_VARIABLE, Image
from squall.sdk.image_recipe import recipe_of

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
LATER = [
    *(
        "from_registry",
        "from_dockerfile",
        "from_scratch",
        "from_id",
        "from_name",
        "micromamba",
        "publish",
        "build",
    ),
    *("apt_install", "run_commands", "run_function", "dockerfile_commands", "entrypoint", "cmd", "shell"),
    *("micromamba_install", "pip_install_from_pyproject", "pip_install_private_repos"),
    *("poetry_install_from_file", "uv_sync"),
]


def test_an_image_never_changes_and_each_step_gives_a_new_one() -> None:
    plain = Image.host()
    more = plain.env({"A": "1"}).workdir("/data").pip_install("six")
    assert plain.steps == ()
    assert len(more.steps) == 3
    assert hash(more) == hash(plain.env({"A": "1"}).workdir("/data").pip_install("six"))


def test_debian_slim_is_the_host_image_and_says_so() -> None:
    assert Image.host().notes == ()
    for image in (Image.debian_slim(), Image.debian_slim(HERE), Image.debian_slim(HERE + ".3")):
        assert "debian_slim() is the host image for now" in image.notes[0]
        assert recipe_of(image.env({"A": "1"})).notes == image.notes


def test_another_python_than_this_one_is_refused_by_name() -> None:
    with pytest.raises(PythonVersionMismatch, match=HERE):
        Image.debian_slim("3.9")


@pytest.mark.parametrize("method", LATER)
def test_what_comes_later_says_so(method: str) -> None:
    with pytest.raises(ImageStepUnavailable, match=rf"Image\.{method} comes with the image system"):
        getattr(Image.host(), method)("x")


def test_options_that_come_later_say_so() -> None:
    with pytest.raises(ImageStepUnavailable, match=r"pip_install\(gpu=\.\.\.\)"):
        Image.host().pip_install("six", gpu="H100")


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
    ],
)
def test_bad_words_are_refused_where_they_are_written(wrong: Callable[[Image], Image]) -> None:
    with pytest.raises(InvalidError) as raised:
        wrong(Image.host())
    assert raised.value.remedy


def test_pipe_puts_steps_of_ones_own_into_a_chain() -> None:
    def with_tools(image: Image, *names: str, pre: bool = False) -> Image:
        return image.pip_install(*names, pre=pre)

    assert Image.host().pipe(with_tools, "six", pre=True) == Image.host().pip_install("six", pre=True)


def test_a_forced_build_is_another_image_each_time() -> None:
    one, two = (recipe_of(Image.host().pip_install("six", force_build=True)).recipe for _ in range(2))
    assert one != two
    assert recipe_of(Image.host().pip_install("six")) == recipe_of(Image.host().pip_install("six"))


def test_imports_are_passed_over_at_the_client_and_only_where_they_are_missing() -> None:
    with Image.host().imports():
        importlib.import_module("squall_has_no_such_module")
    with pytest.raises(ZeroDivisionError), Image.host().imports():
        1 / 0  # noqa: B018


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
