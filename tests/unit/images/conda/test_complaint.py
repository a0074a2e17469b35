from __future__ import annotations

from typing import get_args

import pytest

from squall.images.command import Command, Exit
from squall.images.conda.complaint import conda_failure, wrong_by
from squall.images.conda.nouns import Wrong, status_of, wrong_of
from squall.model.errors import DiskFull, ImageBuildError, ImageDownloadError, OutOfMemory, PackageNotFound

COMMAND = Command(argv=(), env={}, files={}, shown="micromamba install seed")


@pytest.mark.parametrize(
    ("kind", "text", "wrong"),
    [
        (
            "SolverError",
            "Cannot solve the request because of: No candidates were found for seed 7.*.\n",
            "missing",
        ),
        (
            "SolverError",
            (
                "Cannot solve the request because of: wants * cannot be installed because there are no viable options:\n"
                "└─ wants 1.0 would require\n   └─ python 3.9.*, for which no candidates were found.\n"
            ),
            "conflict",
        ),
        ("InvalidMatchSpecError", "unable to parse version spec: >>= 3", "spec"),
        (
            "GatewayError",
            (
                "could not find subdir 'noarch' in channel 'http://h/x/'\nCaused by: HTTP status client error (404 File "
                "not found) for url (http://h/x/noarch/repodata.json)"
            ),
            "no_channel",
        ),
        (
            "GatewayError",
            (
                "Request failed after 1 retries\nCaused by: error sending request for url (http://h/x)\nCaused by: tcp "
                "connect error\nCaused by: Connection refused (os error 111)"
            ),
            "unreachable",
        ),
        (
            "GatewayError",
            "Caused by: HTTP status server error (503 Service Unavailable) for url (http://h)",
            "unreachable",
        ),
        (
            "GatewayError",
            "HTTP status client error (401 Unauthorized) for url (http://h/noarch/repodata.json)",
            "login",
        ),
        (
            "InstallerError",
            (
                "failed to fetch seed-1.0-0.conda\nCaused by: hash mismatch when extracting http://h/seed-1.0-0.conda to /c: "
                "expected 00, got 11, total size 1103 bytes"
            ),
            "damaged",
        ),
        (
            "GatewayError",
            "failed to parse repodata.json\nCaused by: invalid length 0, expected struct with 5 elements",
            "damaged",
        ),
        (
            "GatewayError",
            "failed to download http://h/repodata.json.zst\nCaused by: Unknown frame descriptor",
            "damaged",
        ),
        ("InstallerError", "Caused by: an io error occurred: failed to fill whole buffer", "damaged"),
        ("LinkError", "some other thing", None),
    ],
)
def test_what_an_exception_means_is_read_from_its_words(kind: str, text: str, wrong: Wrong | None) -> None:
    assert wrong_by(kind, text) == wrong


def test_every_meaning_has_an_exit_status_of_its_own() -> None:
    statuses = [status_of(wrong) for wrong in get_args(Wrong)]
    assert len(set(statuses)) == len(statuses)
    assert [wrong_of(status) for status in statuses] == list(get_args(Wrong))
    assert [wrong_of(status) for status in (0, 1, 126, 127, None)] == [None] * 5


@pytest.mark.parametrize("wrong", get_args(Wrong))
def test_every_meaning_is_an_error_that_says_what_to_do(wrong: Wrong) -> None:
    lines = ["channel http://h/x", "No candidates were found for seed 7.*."]
    error = conda_failure("micromamba_install seed", COMMAND, Exit(code=status_of(wrong)), lines)
    kinds = {"missing": PackageNotFound, "login": ImageDownloadError, "unreachable": ImageDownloadError}
    assert type(error) is {**kinds, "damaged": ImageDownloadError, "no_channel": ImageDownloadError}.get(
        wrong, ImageBuildError
    )
    assert error.remedy
    assert "micromamba_install seed" in error.message
    assert lines[-1] in error.message
    if isinstance(error, PackageNotFound):
        assert error.package == "seed"


def test_what_is_no_fault_of_a_package_is_told_as_of_any_step() -> None:
    assert type(conda_failure("x", COMMAND, Exit(code=1), ["os error 28"])) is DiskFull
    assert type(conda_failure("x", COMMAND, Exit(code=status_of("login"), cause="oom"), [])) is OutOfMemory
    assert type(conda_failure("x", COMMAND, Exit(signal=9, cause="signal"), [])) is ImageBuildError
