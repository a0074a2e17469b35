from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from squall.images.command import Exit, Places, Tool, failure, install_command
from squall.images.installer import InstallerSettings
from squall.images.plan import LayerBuild
from squall.model.errors import (
    DiskFull,
    Error,
    ImageBuildError,
    ImageDownloadError,
    OutOfMemory,
    PackageNotFound,
)
from squall.model.image import ClientPython
from squall.model.image_steps import GitLogin, GitToken, PipInstall

PYTHON = ClientPython(executable="/v/bin/python", prefix="/v", base_prefix="/usr", version="3.12.1")
UV = Tool(kind="uv", argv=("/tools/uv",), origin="on PATH", version="0.9.1", uv="/tools/uv")
PIP = Tool(kind="pip", argv=("/v/bin/python", "/v/lib/pip"), origin="the client's own")
PLACES = Places(target="/t", inputs="/i", cache="/c", home="/h")
SECRET = "ada:hunter22"
SETTINGS = InstallerSettings(
    index_url="https://${SQUALL_CREDENTIAL_C0}@example.org/simple",
    constraints="numpy<3\n",
    only_binary=(":all:",),
    secrets={"SQUALL_CREDENTIAL_C0": SECRET, "SQUALL_CREDENTIAL_R0": "tok:en99", "OTHER": "other-secret"},
)
BUILD = LayerBuild(
    key="k" * 64,
    parent="p" * 64,
    step=PipInstall(
        packages=("torch",),
        requirements="x @ https://${SQUALL_CREDENTIAL_R0}@h/x.whl",
        extra_options="--no-deps",
        env={"B": "2"},
    ),
    before=(PipInstall(packages=("numpy<2",), index_url="https://first/", find_links=("/w",)),),
    environment={"A": "1"},
)


@pytest.mark.parametrize("tool", [UV, PIP])
def test_no_secret_stands_in_a_command_line_an_input_file_or_what_is_shown(tool: Tool) -> None:
    command = install_command(BUILD, tool, PLACES, settings=SETTINGS, python=PYTHON)
    said = " ".join([*command.argv, *command.files.values(), command.shown, repr(command)])
    for secret in ("hunter22", "en99", "other-secret"):
        assert secret not in said
    assert "other-secret" not in "".join(command.env.values())
    assert command.env["SQUALL_CREDENTIAL_R0"] == "tok:en99"


def test_uv_builds_on_the_parent_and_never_links_into_a_layer() -> None:
    command = install_command(BUILD, UV, PLACES, settings=SETTINGS, python=PYTHON)
    line = " ".join(command.argv)
    assert line.startswith(
        "/tools/uv pip install --target /t --python /v/bin/python --cache-dir /c --link-mode copy"
    )
    assert "--only-binary :all:" in line
    assert "--no-index" not in line
    assert line.endswith("-r /i/requirements.txt -c /i/constraints.txt --no-deps")
    assert "numpy<2" not in command.files["requirements.txt"]
    assert command.env["UV_INDEX_URL"] == f"https://{SECRET}@example.org/simple"


def test_pip_installs_all_steps_anew() -> None:
    command = install_command(BUILD, PIP, PLACES, settings=SETTINGS, python=PYTHON)
    assert command.files["requirements.txt"].splitlines()[:2] == ["numpy<2", "torch"]
    assert command.env["PIP_EXTRA_INDEX_URL"] == "https://first/"
    assert command.env["PIP_FIND_LINKS"] == "/w"


def test_the_environment_is_the_images_and_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    env = install_command(BUILD, UV, PLACES, settings=InstallerSettings(), python=PYTHON).env
    assert (env["A"], env["B"], env["HOME"]) == ("1", "2", "/h")
    assert "AWS_SECRET_ACCESS_KEY" not in env


def test_what_is_shown_is_what_the_user_wrote() -> None:
    command = install_command(BUILD, UV, PLACES, settings=SETTINGS, python=PYTHON)
    assert command.shown == "uv pip install torch -r requirements.txt --no-deps"


@pytest.mark.parametrize(
    ("output", "exit_", "kind", "words"),
    [
        ("Because nope was not found in the package registry and you", Exit(code=1), PackageNotFound, "nope"),
        (
            "╰─▶ Because there is no version of six==77 and you require",
            Exit(code=1),
            PackageNotFound,
            "six==77",
        ),
        ("ERROR: No matching distribution found for nope>=3", Exit(code=1), PackageNotFound, "nope>=3"),
        ("Because only six<=1.17.0 is available and you", Exit(code=1), PackageNotFound, "six"),
        ("error: Failed to fetch: `https://x`\n dns error", Exit(code=2), ImageDownloadError, "dns error"),
        (
            "Retrying ... NewConnectionError\nNo matching distribution found for six",
            Exit(code=1),
            ImageDownloadError,
            "download",
        ),
        ("HTTP status client error (401 Unauthorized) for url", Exit(code=1), ImageDownloadError, "login"),
        ("OSError: [Errno 28] No space left on device", Exit(code=2), DiskFull, "disk"),
        ("Killed", Exit(signal=9, cause="oom"), OutOfMemory, "memory"),
        ("x Failed to build `old==1.0`\n error: gcc", Exit(code=1), ImageBuildError, "old"),
        ("what is this", Exit(signal=11, cause="signal"), ImageBuildError, "signal 11"),
    ],
)
def test_a_failure_is_named_by_what_was_said(output: str, exit_: Exit, kind: type[Error], words: str) -> None:
    command = install_command(BUILD, UV, PLACES, settings=SETTINGS, python=PYTHON)
    error = failure(BUILD.label, command, exit_, output.splitlines())
    assert type(error) is kind
    assert words in error.message.splitlines()[0]
    assert "uv pip install torch" in error.message
    assert output.splitlines()[-1].strip() in error.message
    assert error.remedy


def test_an_error_carries_the_last_lines_only() -> None:
    command = install_command(BUILD, UV, PLACES, settings=SETTINGS, python=PYTHON)
    error = failure(BUILD.label, command, Exit(code=1), [f"line {number}" for number in range(500)])
    assert "line 499" in error.message
    assert "line 400" not in error.message


def test_a_step_that_used_all_the_memory_it_might_is_told_its_limit() -> None:
    command = install_command(BUILD, UV, PLACES, settings=SETTINGS, python=PYTHON)
    error = failure("run_function f", command, Exit(signal=9, cause="oom"), ["Killed"], memory_mib=64)
    assert isinstance(error, OutOfMemory)
    assert "64 MiB" in error.message
    assert "memory=" in error.remedy


GIT = PipInstall(
    packages=("git+https://github.com/o/n@v1",),
    secrets=("GITHUB_TOKEN",),
    git=GitLogin(user="ada", tokens=(GitToken(server="https://github.com", variable="GITHUB_TOKEN"),)),
)


BUILD_OF_GIT = replace(BUILD, step=GIT, before=())


@pytest.mark.parametrize("tool", [UV, PIP], ids=["uv", "pip"])
def test_a_token_is_in_its_variable_alone_and_nothing_private_in_the_shared_cache(tool: Tool) -> None:
    settings = InstallerSettings(secrets={"GITHUB_TOKEN": "t0kenValue"})
    command = install_command(BUILD_OF_GIT, tool, PLACES, settings=settings, python=PYTHON)
    shown = {name: value for name, value in command.env.items() if name != "GITHUB_TOKEN"}
    assert command.env["GITHUB_TOKEN"] == "t0kenValue"
    for text in (*command.argv, command.shown, *command.files.values(), *shown.values()):
        assert "t0kenValue" not in text
    assert "--cache-dir" not in command.argv
    assert {"--no-cache", "--no-cache-dir"} & set(command.argv)


@pytest.mark.needs("git")
def test_git_answers_its_own_server_with_what_is_in_the_variables_and_no_other(tmp_path: Path) -> None:
    """By git itself, whose questions these are."""
    env = {
        **install_command(BUILD_OF_GIT, UV, PLACES, settings=InstallerSettings(), python=PYTHON).env,
        "GITHUB_TOKEN": "t0ken with $(spaces)",
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "GIT_ASKPASS": "/bin/false",
    }
    (tmp_path / ".gitconfig").write_text("[credential]\nhelper = store\n")

    def filled(host: str) -> str:
        done = subprocess.run(
            ["git", "credential", "fill"],
            input=f"protocol=https\nhost={host}\n\n",
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    said = filled("github.com")
    assert "username=ada\npassword=t0ken with $(spaces)\n" in said
    assert filled("github.com.evil.example") == filled("other.example") == ""
    subprocess.run(["git", "credential", "approve"], input=said, env=env, text=True, check=True)
    assert [path.name for path in tmp_path.iterdir()] == [".gitconfig"], "a helper of the image wrote it down"


@pytest.mark.parametrize(
    ("said", "kind", "words", "remedy"),
    [
        (
            "error: Git executable not found. Ensure that Git is installed",
            ImageBuildError,
            "no git",
            "apt_install",
        ),
        (
            "ERROR: Cannot find command 'git' - do you have 'git' installed",
            ImageBuildError,
            "no git",
            "apt_install",
        ),
        (
            "fatal: Authentication failed for 'https://****@h/'",
            ImageDownloadError,
            "refused the login",
            "git_user",
        ),
        ("remote: Repository not found.", ImageDownloadError, "no such repository", "git_user"),
    ],
)
def test_what_git_says_is_told_with_what_to_do(said: str, kind: type[Error], words: str, remedy: str) -> None:
    command = install_command(BUILD_OF_GIT, UV, PLACES, settings=InstallerSettings(), python=PYTHON)
    error = failure("step", command, Exit(code=1), [said])
    assert type(error) is kind
    assert words in error.message
    assert remedy in error.remedy
