"""Deploy records: what the state store keeps about a version of a deployed app, and about an environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from squall.model.deploy import DeployedName, VersionState
from squall.model.ids import AppId

MOST_VERSIONS: Final = 100
"""How many versions of one app are remembered; those that still have something to do are not counted out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRecord:
    """A version of a deployed app.

    app: the id under which it runs. number: 1, 2, 3, given by the store. copy_of: the version that a rollback went back to, or
    0. why: what went wrong with it, for people. functions: their names. content: JSON that the store does not read, empty
    where versions are listed. Instants in seconds since 1970.
    """

    app: AppId
    environment: str
    name: str
    created_s: float
    number: int = 0
    state: VersionState = VersionState.PREPARING
    ended_s: float | None = None
    strategy: str = "rolling"
    tag: str = ""
    who: str = ""
    copy_of: int = 0
    why: str = ""
    functions: tuple[str, ...] = ()
    content: str = ""

    @property
    def deployed(self) -> DeployedName:
        """Which app it is a version of."""
        return DeployedName(self.environment, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRecord:
    """An environment that somebody made. created_s: seconds since 1970."""

    name: str
    created_s: float
