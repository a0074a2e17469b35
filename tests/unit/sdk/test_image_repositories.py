from __future__ import annotations

from typing import Any

import pytest

from squall.model.errors import InvalidError
from squall.model.image import ImageRecipe
from squall.model.image_steps import GitLogin, GitToken, PipInstall, step_label
from squall.sdk.image import Image
from squall.sdk.image_recipe import recipe_of
from squall.sdk.image_repositories import private_packages
from squall.sdk.secret import Secret

GITHUB = GitToken(server="https://github.com", variable="GITHUB_TOKEN")


@pytest.mark.parametrize(
    ("written", "package"),
    [
        ("github.com/o/n", "git+https://github.com/o/n"),
        ("github.com/o/n.git@v1.0", "git+https://github.com/o/n.git@v1.0"),
        ("github.com/o/n@feature/x", "git+https://github.com/o/n@feature/x"),
        ("github.com/o/group/n@d4776502", "git+https://github.com/o/group/n@d4776502"),
        ("github.com/o/n@main#subdirectory=a/b", "git+https://github.com/o/n@main#subdirectory=a/b"),
    ],
)
def test_a_repository_is_a_package_without_a_login_in_its_address(written: str, package: str) -> None:
    assert private_packages([written], "ada", ("GITHUB_TOKEN",)) == (
        (package,),
        GitLogin(user="ada", tokens=(GITHUB,)),
    )


@pytest.mark.parametrize(
    ("host", "variables", "server", "variable"),
    [
        ("gitlab.com", ("GITHUB_TOKEN", "GITLAB_TOKEN"), "https://gitlab.com", "GITLAB_TOKEN"),
        ("github.com", ("MY_TOKEN",), "https://github.com", "MY_TOKEN"),
        ("git.example.org:8443", ("GITHUB_TOKEN", "OURS"), "https://git.example.org:8443", "OURS"),
        ("127.0.0.1:80", ("OURS",), "http://127.0.0.1:80", "OURS"),
        ("localhost", ("OURS",), "http://localhost", "OURS"),
    ],
)
def test_each_server_has_its_token(host: str, variables: tuple[str, ...], server: str, variable: str) -> None:
    _, login = private_packages([f"{host}/o/n"], "ada", variables)
    assert login.tokens == (GitToken(server=server, variable=variable),)


@pytest.mark.parametrize(
    ("host", "variables"),
    [
        ("github.com", ()),
        ("github.com", ("GITLAB_TOKEN",)),
        ("git.example.org", ("GITHUB_TOKEN",)),
        ("git.example.org", ("A", "B")),
    ],
)
def test_a_token_that_may_be_anothers_is_given_to_nobody(host: str, variables: tuple[str, ...]) -> None:
    with pytest.raises(InvalidError, match=f"the token for {host} is not clear") as raised:
        private_packages([f"{host}/o/n"], "ada", variables)
    assert "Secret.from_local_environ" in raised.value.remedy


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            "n",
            "github.com",
            "github.com/o",
            "github.com/o/",
            "/o/n",
            "github.com/o/n@",
            "github.com/o/n@-x",
        ),
        *(
            "https://github.com/o/n",
            "https://ada:hunter2secret@github.com/o/n",
            "git@github.com:o/n",
            "a b/o/n",
        ),
        *(
            "github.com/../n/x",
            "github.com/o/n@a..b",
            "github.com/-o/n",
            "github.com/o/n@a b",
            "github.com/o/n\nx",
        ),
        *("github.com/o/n#subdirectory=`x`", "github.com/o/$(x)", "-r/o/n"),
    ],
)
def test_what_is_no_repository_is_refused_and_no_password_quoted(written: str) -> None:
    with pytest.raises(InvalidError, match="is no repository") as raised:
        private_packages([written], "ada", ("GITHUB_TOKEN",))
    assert "hunter2secret" not in str(raised.value)
    assert raised.value.remedy


@pytest.mark.parametrize("user", ["", None, 3, "a\nb", "a\0"])
def test_a_user_is_a_name(user: Any) -> None:
    with pytest.raises(InvalidError, match="git_user"):
        private_packages(["github.com/o/n"], user, ("GITHUB_TOKEN",))


def test_a_step_that_names_none_is_refused() -> None:
    with pytest.raises(InvalidError, match="names no repository"):
        Image.debian_slim().pip_install_private_repos(git_user="ada")


def test_the_token_travels_apart_and_the_recipe_names_its_variable() -> None:
    secret = Secret.from_dict({"GITHUB_TOKEN": "t0kenValue"})
    image = Image.host().pip_install_private_repos(
        "github.com/o/n@v1", git_user="ada", secrets=[secret], pre=True
    )
    assert hash(image)
    assert "t0kenValue" not in repr(image.steps)
    needed = recipe_of(image)
    step = needed.recipe.steps[0]
    assert isinstance(step, PipInstall)
    assert step.git == GitLogin(user="ada", tokens=(GITHUB,))
    assert (step.packages, step.secrets, step.pre) == (
        ("git+https://github.com/o/n@v1",),
        ("GITHUB_TOKEN",),
        True,
    )
    assert step_label(step) == "pip_install_private_repos github.com/o/n@v1"
    assert ImageRecipe.from_json(needed.recipe.to_json()) == needed.recipe
    assert "t0kenValue" not in str(needed.recipe.to_json())
    assert needed.secrets == {"GITHUB_TOKEN": "t0kenValue"}
