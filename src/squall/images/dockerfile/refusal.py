"""Refusal: why a line of a Dockerfile is not taken, and the error that says so to the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from squall.images.redact import without_userinfo
from squall.model.errors import Error, ImageStepUnavailable, InvalidError

_SHOWN: Final = 120  # characters of a line: what one line of a terminal has room for


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something stands: the number of its first line, from 1, and that line as it was written."""

    line: int
    text: str


class Refusal(Exception):  # noqa: N818 - no error yet: whoever knows the place makes one of it
    """Why something is not taken, raised by what does not know where it stands.

    feature: what is not in this version; empty where no version of Docker would take it either.
    """

    def __init__(self, why: str, remedy: str, *, feature: str = "") -> None:
        super().__init__(why)
        self.why, self.remedy, self.feature = why, remedy, feature

    def at(self, place: Place) -> Error:
        """The error for the user: the line, why it is refused and what to do."""
        text = without_userinfo(place.text.strip())
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        message = f"line {place.line} of the Dockerfile, `{shown}`: {self.why}"
        if self.feature:
            return ImageStepUnavailable(message, remedy=self.remedy, feature=self.feature, line=place.line)
        return InvalidError(message, remedy=self.remedy, line=place.line)
