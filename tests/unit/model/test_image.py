from __future__ import annotations

import pytest

from squall.model.image import ClientPython, ImageRecipe
from squall.model.image_steps import AddLocal, Env, PipInstall, Step, Workdir, step_label

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
    ),
    Workdir(path="/data"),
    AddLocal(kind="dir", remote="/data", tree="t" * 64, copy=False, origin="./data"),
)


def test_a_recipe_comes_back_from_its_plain_form() -> None:
    recipe = ImageRecipe(base="debian_slim", python_version="3.12", steps=STEPS)
    assert ImageRecipe.from_json(recipe.to_json()) == recipe


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


@pytest.mark.parametrize("path", ["/", "/usr/share/x", "/proc", "/squall/layers/x", "/lib64/x", "/dev/null"])
def test_local_files_do_not_go_over_the_machines_own(path: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        AddLocal(kind="dir", remote=path, tree="t")


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
