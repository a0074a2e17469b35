"""Complaint: what goes wrong with a registry, as the named error that a person gets.

Nothing of it repeats what a registry wrote freely, the path of an address, or a credential.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from squall.model.errors import (
    ImageDownloadError,
    RegistryAccessDenied,
    RegistryAnswerWrong,
    RegistryNotFound,
    RegistryRateLimited,
    RegistryRefused,
    RegistryUnreachable,
)

# The codes of the protocol. Whatever else stands in an answer may be a secret of ours, or colours for a terminal.
_CODES: Final = frozenset(
    {
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "MANIFEST_UNVERIFIED",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "TAG_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
    }
)


class NotNow(Exception):  # noqa: N818 - it is an answer as much as a failure, and never leaves this folder
    """What was asked may work when it is asked again: a broken connection, or a registry that is busy.

    asked_s: the pause that the registry asked for. status: 0 for a connection. remedy: where no pause can help,
    what a person can do.
    """

    def __init__(
        self, why: str, *, asked_s: float | None = None, status: int = 0, remedy: str | None = None
    ) -> None:
        super().__init__(why)
        self.why = why
        self.asked_s = asked_s
        self.status = status
        self.remedy = remedy


class Unsound(Exception):  # noqa: N818 - the same
    """An answer that breaks the rules: asking again is of no use, and nothing of it is kept."""


@dataclass(frozen=True, slots=True)
class Where:
    """What is spoken of: the registry's host, as the user wrote it, and the repository in it."""

    host: str
    repository: str

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}"


@contextlib.contextmanager
def told(where: Where) -> Iterator[None]:
    """Has what breaks the rules raised as a RegistryAnswerWrong."""
    try:
        yield
    except Unsound as unsound:
        raise answer_wrong(where, str(unsound)) from None


def answer_wrong(where: Where, why: str) -> RegistryAnswerWrong:
    """The registry broke the rules. why: a clause."""
    return RegistryAnswerWrong(
        f"the answer of {where.host} about {where.repository} is not to be used: {why}",
        host=where.host,
        repository=where.repository,
    )


def gave_up(where: Where, last: NotNow, tries: int) -> ImageDownloadError:
    """Asked `tries` times in vain; `last` is the last answer."""
    if last.status == 429:
        return rate_limited(where, last)
    times = f" ({tries} tries)" if tries > 1 else ""
    return RegistryUnreachable(
        f"{where.host} could not be asked about {where.repository}{times}: {last.why}",
        remedy=last.remedy,
        host=where.host,
        repository=where.repository,
    )


def rate_limited(where: Where, last: NotNow) -> ImageDownloadError:
    """The registry wants a longer pause, or one more, than it is waited for."""
    pause = f", and asks for a pause of {last.asked_s:.0f} s" if last.asked_s is not None else ""
    facts = {"host": where.host, "repository": where.repository}
    if last.status == 429:
        message = f"{where.host} limits how often {where.repository} is asked for{pause}"
        return RegistryRateLimited(message, wait_s=last.asked_s, **facts)
    return RegistryUnreachable(f"{where.host} does not serve {where.repository} now{pause}", **facts)


def refusal(where: Where, status: int, body: bytes, doing: str) -> ImageDownloadError:
    """The registry was `doing` ("asked for the manifest of") the repository, and gave this status and text."""
    code = code_in(body)
    said = f"status {status}" + (f", {code}" if code else "")
    kind, does = _meaning(status)
    return kind(
        f"{where.host} was {doing} {where.repository}, and {does} ({said})",
        host=where.host,
        repository=where.repository,
    )


def _meaning(status: int) -> tuple[type[ImageDownloadError], str]:
    if status in {401, 403}:
        return RegistryAccessDenied, "does not allow that to this login"
    if status == 404:
        return RegistryNotFound, "has nothing of that name"
    if status == 429:
        return RegistryRateLimited, "limits how often one may do so"
    if 400 <= status < 500:
        return RegistryRefused, "refuses"
    if status >= 500:
        return RegistryUnreachable, "failed"
    return RegistryAnswerWrong, "gives an answer that does not fit"


def code_in(body: bytes) -> str | None:
    """The protocol's code in an error's text, or None: what a registry says in its own words is not repeated."""
    try:
        said = json.loads(body)["errors"][0]["code"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return said if isinstance(said, str) and said in _CODES else None
