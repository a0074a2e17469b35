"""What runs now: set by the runner, read by the sdk inside a container."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class CurrentInput:
    """The input that this thread or task works on."""

    call: str
    index: int
    attempt: int
    function: str


class Link(Protocol):
    """The way out of a container: frames of ours to the agent, and the frames that answer them."""

    generation: int

    def send(self, generation: int, frame: Any, *more: Any) -> None:
        """Hands a frame (`squall.wire.codec.Frame`) to the agent; dropped when the generation is over."""

    def listen(self, on_frame: Callable[[Any], None] | None) -> None:
        """Where frames of streams that the sdk opened arrive, in the link's own thread; None: nowhere.

        None as a frame says that the generation is another one now.
        """


@dataclass(slots=True)
class Container:
    """What holds for the whole container. link: None in a template, which is none yet and speaks to nobody.

    volumes: the path and the id of each volume that it has, and whether it may write there.
    """

    id: str
    function: str
    app: str
    link: Link | None
    volumes: tuple[tuple[str, str, bool], ...] = ()


class NotInTemplateError(BaseException):
    """A remote call is made while a template loads the code; no `except Exception` of that code is to catch it."""


current_input: ContextVar[CurrentInput | None] = ContextVar("squall_current_input", default=None)
container: Container | None = None
declared: dict[str, Callable[..., Any]] = {}
"""The undecorated functions that modules have declared in this process, by "module:qualname"."""


after_fork: list[Callable[[], object]] = []
"""What user code has each container do once it has been forked from its template, or has loaded the code itself."""


def enter_container(here: Container) -> None:
    """Says that this process is a container, or a template of such; called by the runner before user code is imported."""
    global container  # noqa: PLW0603 - one process is one container, for its whole life after its fork
    container = here


def in_container() -> Container | None:
    """The container that this process is, or None at a client."""
    return container
