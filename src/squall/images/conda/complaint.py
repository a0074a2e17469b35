"""Complaint: what an error of the installer of conda packages means, and what users are told of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, assert_never

from squall.images.command import LAST_LINES, Command, Exit, failure
from squall.images.conda.nouns import PREFIX, Wrong, wrong_of
from squall.images.python.nouns import dotted
from squall.images.python.plan import OLDEST
from squall.model.errors import Error, ImageBuildError, ImageDownloadError, PackageNotFound

_NO_PACKAGE = re.compile(r"^(?:.*: )?No candidates were found for (?P<package>[^\s,]+)", re.MULTILINE)
_LOGIN = re.compile(r"\b(?:401 Unauthorized|403 Forbidden|407 Proxy)")
_NONE_THERE = re.compile(r"\b(?:404|410) [A-Za-z ]+\) for url|could not find subdir")
_DAMAGED: Final = (
    *("hash mismatch", "failed to fill whole buffer", "expected value at line", "EOF while parsing"),
    *("unexpected end of file", "invalid Zip archive", "invalid type:", "Unknown frame descriptor"),
    *("failed to parse repodata", "failed to extract repodata"),
)
_SILENT: Final = (
    *(
        "error sending request",
        "error decoding response body",
        "operation timed out",
        "Connection re",
        "dns error",
    ),
    *("connection closed", "invalid peer certificate", "HTTP status server error", "429 Too Many Requests"),
)
_SPEC: Final = frozenset({"InvalidMatchSpecError", "InvalidVersionSpecError", "PackageNameMatcherParseError"})


def wrong_by(kind: str, text: str) -> Wrong | None:
    """What an exception of py-rattler means, by the name of its class and its text; None where it is none that is known."""
    if kind in _SPEC:
        return "spec"
    if kind == "SolverError":
        return "missing" if _NO_PACKAGE.search(text) else "conflict"
    if _LOGIN.search(text):
        return "login"
    if any(word in text for word in _DAMAGED):
        return "damaged"
    if _NONE_THERE.search(text):
        return "no_channel"
    if any(word in text for word in _SILENT):
        return "unreachable"
    return None


def conda_failure(
    label: str, command: Command, exit_: Exit, lines: Sequence[str], *, memory_mib: int | None = None
) -> Error:
    """The error that tells users why a step of conda packages failed. The rest is as of `squall.images.command.failure`."""
    wrong = wrong_of(exit_.code) if exit_.cause == "exit" else None
    if wrong is None:
        return failure(label, command, exit_, lines, memory_mib=memory_mib)
    last = [line for line in lines if line.strip()][-LAST_LINES:]
    told = f"{label}: " + "\n  ".join([_said(wrong), *last])
    match wrong:
        case "missing":
            package = next((found["package"] for line in last if (found := _NO_PACKAGE.search(line))), "")
            return PackageNotFound(
                told,
                remedy="check the spelling and version of the package, and name the channel that has it: channels=[...]",
                package=package or None,
            )
        case "login":
            return ImageDownloadError(
                told,
                remedy='write the login into the channel\'s address, "https://USER:PASSWORD@HOST/NAME" or '
                '"https://HOST/t/TOKEN/NAME"; it is kept out of the image and its logs',
            )
        case "unreachable":
            return ImageDownloadError(
                told,
                remedy="check the network, the proxy settings (HTTPS_PROXY, NO_PROXY) and the channel's address; "
                "CONDA_CHANNEL_ALIAS says where channels lie that have only a name",
            )
        case "no_channel":
            return ImageDownloadError(
                told,
                remedy="check the channel's name and address; a package file may have been removed since",
            )
        case "damaged":
            return ImageDownloadError(
                told,
                remedy="try again; if it stays so, the channel, or a proxy before it, is not to be trusted",
            )
        case "conflict" | "spec" | "no_environment" | "old_python" | "broken_python":
            return ImageBuildError(told, remedy=_remedy(wrong), step=label)
        case _:
            assert_never(wrong)


def no_environment(label: str) -> ImageBuildError:
    """The error for a step of conda packages over an image that has no environment for them."""
    return ImageBuildError(
        f"{label}: {_said('no_environment')}", remedy=_remedy("no_environment"), step=label
    )


def _said(wrong: Wrong) -> str:
    return {
        "missing": "the channels have no such conda package, or not this version of it",
        "conflict": "these conda packages cannot be installed together",
        "unreachable": "a conda channel could not be reached",
        "no_channel": "a conda channel, or a package file in it, is not there",
        "login": "a conda channel wants a login, or does not let this one in",
        "damaged": "what a conda channel gave is not what it announces, and nothing of it was kept",
        "spec": "a word names no conda package",
        "no_environment": f"the image has no conda environment at {PREFIX}",
        "broken_python": "the environment's own Python does not run",
        "old_python": f"the environment would have a Python before {dotted(OLDEST)}, or none, and functions are Python",
    }[wrong]


def _remedy(wrong: Wrong) -> str:
    return {
        "conflict": "ask for other versions, as the lines above say, or for fewer packages",
        "spec": 'write package specs as conda does: "numpy", "numpy=2.1", "numpy>=2,<3"',
        "no_environment": "start from Image.micromamba()",
        "broken_python": "ask for another Python, or for that of another channel",
        "old_python": f"ask for Python {dotted(OLDEST)} or a later one",
    }[wrong]
