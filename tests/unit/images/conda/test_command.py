from __future__ import annotations

import json
from dataclasses import replace

import pytest

from squall.images.conda.command import JOB, conda_command, with_environment
from squall.images.conda.nouns import CondaJob, PackageFile
from squall.images.dockerfile.nouns import DEFAULT_PATH, ImageConfig
from squall.images.installer import InstallerSettings
from squall.model.image_steps import CondaInstall

STEP = CondaInstall(
    packages=("seed",), channels=("https://${SECRET}@host/it",), env={"CONDA_OVERRIDE_CUDA": "12.4"}
)
SETTINGS = InstallerSettings(
    secrets={"SECRET": "ada:pw", "OTHER": "kept"}, proxies={"https_proxy": "http://p"}
)
PLACES = ("/in", "/cache", "/installer")


def test_the_job_has_no_credential_and_the_environment_only_its_own() -> None:
    command = conda_command(STEP, {"PATH": "/opt/conda/bin", "PYTHONHOME": "/x", "A": "1"}, SETTINGS, PLACES)
    assert CondaJob.from_json(json.loads(command.files[JOB])) == CondaJob(
        packages=("seed",), explicit=(), channels=STEP.channels, begins=False, cache="/cache/conda"
    )
    assert "ada" not in " ".join([*command.argv, *command.files.values(), command.shown])
    assert {**command.env, "HOME": ""} == {
        "PATH": DEFAULT_PATH,
        "PYTHONHOME": "/x",
        "A": "1",
        "CONDA_OVERRIDE_CUDA": "12.4",
        "SECRET": "ada:pw",
        "https_proxy": "http://p",
        "RUST_BACKTRACE": "0",
        "HOME": "",
    }


def test_the_python_beside_the_environment_runs_it_and_heeds_no_variable_of_the_image() -> None:
    argv = conda_command(STEP, {}, SETTINGS, PLACES).argv
    assert argv[:3] == ("/usr/bin/env", "python3", "-I")
    assert argv[-2:] == ("/installer", "/in/conda.json")


def test_a_machine_may_say_for_how_long_a_channel_may_be_silent() -> None:
    said = conda_command(STEP, {}, replace(SETTINGS, timeout_s=7.5), PLACES).files[JOB]
    assert json.loads(said)["timeout_s"] == 7.5


def test_an_environment_comes_first_and_once() -> None:
    once = with_environment(ImageConfig(env={"A": "1"}))
    assert once.env == {
        "A": "1",
        "PATH": f"/opt/conda/bin:{DEFAULT_PATH}",
        "CONDA_PREFIX": "/opt/conda",
        "MAMBA_ROOT_PREFIX": "/opt/conda",
    }
    assert with_environment(once) == once
    # Whoever has put something before it later meant to.
    moved = replace(once, env={**once.env, "PATH": f"/own:{once.env['PATH']}"})
    assert with_environment(moved) == moved


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        (
            "https://h/it/linux-64/seed-1.0-py_0.conda",
            ("https://h/it", "linux-64", "seed", "1.0", "py_0", ""),
        ),
        (
            f"https://h/a/b/noarch/See-d-1!2.0-0.tar.bz2#{'a' * 32}",
            ("https://h/a/b", "noarch", "see-d", "1!2.0", "0", "a" * 32),
        ),
        (
            f"http://h/it/noarch/x-1-0.conda#sha256:{'b' * 64}",
            ("http://h/it", "noarch", "x", "1", "0", "b" * 64),
        ),
    ],
)
def test_the_address_of_a_package_file_says_all_of_it(address: str, parts: tuple[str, ...]) -> None:
    found = PackageFile.of(address)
    assert found is not None
    assert (found.channel, found.subdir, found.name, found.version, found.build, found.digest) == parts


@pytest.mark.parametrize(
    "address",
    [
        *("numpy=2", "https://h/it/linux-64/seed.conda", "https://h/it/linux-64/seed-1.0-0.zip"),
        *("/srv/linux-64/seed-1.0-0.conda", "https://h/it/linux-64/seed-1.0-0.conda#abc", ""),
    ],
)
def test_what_is_no_package_file_is_none(address: str) -> None:
    assert PackageFile.of(address) is None
