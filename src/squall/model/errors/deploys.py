"""Errors of deployed apps: names, what is not there, and versions that never served."""

# ruff: noqa: N818 - the names are those that users of this field know, most of them without a suffix

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from squall.model.errors.asked import ConflictError, InvalidError, NotFoundError
from squall.model.errors.root import Error


class NameInvalid(InvalidError):
    """An app, an environment or a tag cannot have this name."""

    code, status = "SQ-1030", 400
    remedy = "take 1 to 64 ASCII letters, digits, '-', '_' and '.', the first of them a letter or a digit, and no id of an app"


class DeployedAppNotFound(NotFoundError):
    """No app of that name is deployed."""

    code, status = "SQ-1031", 404
    remedy = "deploy it: `squall deploy FILE`; `squall app list` shows what is deployed"


class VersionNotFound(NotFoundError):
    """The deployed app has no such version that could be used."""

    code, status = "SQ-1032", 404
    remedy = "`squall app history APP` lists its versions"


class EnvironmentNotFound(NotFoundError):
    """There is no environment of that name."""

    code, status = "SQ-1033", 404
    remedy = "make it: `squall environment create NAME`; `squall environment list` shows those that there are"


class DeployFailed(Error):
    """The new version was never ready, so it has taken no call."""

    code, status = "SQ-1034", 422
    remedy = "correct what the message shows and deploy again; what was deployed before has gone on"
    version: int | None = None


class DeploySuperseded(ConflictError):
    """A newer version was deployed before this one was ready."""

    code, status = "SQ-1035", 409
    remedy = "look at `squall app history APP`, and deploy again if yours is to serve"


class EnvironmentNotEmpty(ConflictError):
    """The environment that is to be deleted has things in it that would go with it."""

    code, status = "SQ-1040", 409
    remedy = "delete it with them: `squall environment delete NAME --with-contents`"
    inside: dict[str, list[str]] | None = None

    @classmethod
    def of(cls, name: str, inside: Mapping[str, Sequence[str]]) -> EnvironmentNotEmpty:
        """The error for an environment with these things in it, by their kind."""
        told = "; ".join(
            f"{_KINDS.get(kind, kind)} {', '.join(names)}" for kind, names in inside.items() if names
        )
        return cls(
            f"the environment {name} has things in it: {told}",
            inside={kind: list(names) for kind, names in inside.items()},
        )


_KINDS: Final = {"dict": "the Dicts", "queue": "the Queues", "secret": "the Secrets", "volume": "the Volumes"}


class ScheduleInvalid(InvalidError):
    """A schedule does not hold together, or the function cannot have one."""

    code, status = "SQ-1036", 400
    remedy = "five fields `minute hour day month weekday` as in squall.Cron('5 4 * * *'), or squall.Period(hours=1)"


class ScheduleNotFound(NotFoundError):
    """No deployed function of that name has a schedule."""

    code, status = "SQ-1037", 404
    remedy = "`squall schedule list` shows those that there are"
