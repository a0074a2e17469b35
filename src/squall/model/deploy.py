"""Deploy: the name of an app that stays, the versions that it has had, and how its functions are addressed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from squall.model.errors import InvalidError, NameInvalid
from squall.model.ids import APP, is_id

MAIN_ENVIRONMENT: Final = "main"
"""The environment that is always there, and is meant where none is named."""

LONGEST_NAME: Final = 64
LONGEST_TAG: Final = 64
STRATEGIES: Final = ("rolling", "recreate")
"""How a version takes the place of the one before: started beside it, or once its containers have gone."""

_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_SIGNS: Final = _LETTERS | frozenset("-_.")
_MARK: Final = "@"


class VersionState(StrEnum):
    """Where a version stands.

    It is made ready and tried (preparing), takes every new call (serving), ends those that it has (draining); then another has
    its place (superseded), or it never took a call (failed), or its app was stopped.
    """

    PREPARING = "preparing"
    SERVING = "serving"
    DRAINING = "draining"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def open(self) -> bool:
        """Whether a server has to do with it still."""
        return self in {VersionState.PREPARING, VersionState.SERVING, VersionState.DRAINING}


@dataclass(frozen=True, slots=True, order=True)
class DeployedName:
    """The name of a deployed app, unique in its environment."""

    environment: str
    app: str

    def __str__(self) -> str:
        return self.app if self.environment == MAIN_ENVIRONMENT else f"{self.app} in {self.environment}"


@dataclass(frozen=True, slots=True)
class Address:
    """A function of a deployed app: of the version that serves, or of the one that is named.

    environment: empty for that of the caller's own app.
    """

    environment: str
    app: str
    function: str
    version: int | None = None

    def __str__(self) -> str:
        pinned = "" if self.version is None else f"{_MARK}{self.version}"
        return f"{_MARK}{self.environment}/{self.app}/{self.function}{pinned}"

    @staticmethod
    def read(text: str) -> Address | None:
        """The address that a text says; None for the id of a function. Raises InvalidError for what is neither."""
        if not text.startswith(_MARK):
            return None
        parts = text[len(_MARK) :].split("/")
        if len(parts) != 3:
            raise InvalidError(f"{text!r} addresses no function of a deployed app")
        function, pinned, version = parts[2].partition(_MARK)
        if pinned and not (version.isascii() and version.isdecimal() and len(version) < 10):
            raise InvalidError(f"{text!r} names no version: versions are counted 1, 2, 3")
        return Address(parts[0], parts[1], function, int(version) if pinned else None)


def check_name(what: str, name: object) -> str:
    """The name, if an app or an environment may have it. what: "an app". Raises NameInvalid, which says the rule."""
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= LONGEST_NAME
        or name[0] not in _LETTERS
        or not _SIGNS.issuperset(name)
        or is_id(name, APP)
    ):
        raise NameInvalid(f"{name!r} is no name for {what}")
    return name


def check_tag(tag: object) -> str:
    """The tag, if a version may have it; "" is none. Raises NameInvalid."""
    if not isinstance(tag, str) or len(tag) > LONGEST_TAG or not _SIGNS.issuperset(tag):
        raise NameInvalid(f"{tag!r} is no tag for a version")
    return tag


def check_strategy(strategy: object) -> str:
    """The strategy, if there is one of that name. Raises InvalidError."""
    if strategy not in STRATEGIES:
        raise InvalidError(
            f"{strategy!r} is no strategy: a version takes its place {' or '.join(map(repr, STRATEGIES))}"
        )
    return str(strategy)
