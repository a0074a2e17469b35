"""The templates of a launcher: the one that containers start from now, earlier ones whose containers still run."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from squall.model.errors import ContainerStartError, InvalidError, IsolationUnavailable
from squall.runtime.container import Container
from squall.runtime.ladder import Rung
from squall.runtime.spec import SandboxSpec
from squall.runtime.template.around import Around
from squall.runtime.template.joined import JoinedContainer
from squall.runtime.template.keeper import Keeper, Tell, Version

Message = dict[str, Any]
_TOLD = ("reason", "why", "hint", "seconds", "modules", "notes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A container that shall start. asked_at: in seconds of the monotonic clock. demanded: the only rung that will do."""

    spec: SandboxSpec
    asked_at: float
    demanded: Rung | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnContainers:
    """What a launcher does as a container that was forked from a template gets its sandbox, speaks, ends, or cannot start."""

    begun: Callable[[Container], None]
    heard: Callable[[Container], None]
    ended: Callable[[Container], None]
    fell: Callable[[JoinedContainer, str], None]


class Templates:
    """Keepers by what they are for. tell: to the agent; begin: starts a container that has waited."""

    def __init__(
        self,
        around: Around,
        on_containers: OnContainers,
        tell: Callable[[Message], None],
        begin: Callable[[Wish], None],
    ) -> None:
        self._around = around
        self._tell_launcher = Tell(
            changed=self.changed,
            spare=self._begin_waiting,
            printed=self.printed,
            begun=on_containers.begun,
            heard=on_containers.heard,
            ended=on_containers.ended,
            fell=on_containers.fell,
        )
        self._tell = tell
        self._begin = begin
        self._current: Keeper | None = None
        self._earlier: list[Keeper] = []
        self._waiting: dict[str, Wish] = {}

    @property
    def all(self) -> list[Keeper]:
        """Every template that has something running."""
        return [*self._earlier, *([self._current] if self._current is not None else [])]

    @property
    def live(self) -> bool:
        """Whether anything of any of them runs."""
        return any(keeper.is_live for keeper in self.all)

    @property
    def spares(self) -> int:
        """How many forks wait to be asked for."""
        return 0 if self._current is None else self._current.spares

    def declare(self, message: Mapping[str, Any], *, code: int | None = None) -> None:
        """There shall be a template for containers like this; one that is there is told of again.

        Where the packages of an earlier version stay, and are what this one has too, it comes from them. code: a file with the code that
        travels by value; it stays the caller's.
        """
        try:
            version = Version(
                spec=SandboxSpec.from_json(message.get("spec") or {}),
                load=dict(message["load"]),
                code=code,
                source=None if message.get("source") is None else str(message["source"]),
            )
        except (KeyError, TypeError, ValueError) as problem:
            raise InvalidError(f"this describes no template: {problem}") from problem
        if version.spec.upper is not None:
            raise InvalidError("containers that keep what they change are not forked from a template")
        if refused := self._around.host.refuses(version.spec):
            raise IsolationUnavailable(refused)
        current = self._current
        if current is not None and current.fits(version.spec) and current.state in {"building", "ready"}:
            self.changed(current)
            return
        if current is not None and current.can_renew(version):
            current.renew(version)
            self.changed(current)
            return
        self._retire()
        keeper = Keeper(version, self._around, self._tell_launcher)
        self._current = keeper
        try:
            keeper.start()
        except OSError as problem:
            keeper.state, keeper.why = (
                "refused",
                {"reason": "sandbox", "why": f"its init could not be started: {problem}"},
            )
        self.changed(keeper)

    def for_spec(self, spec: SandboxSpec) -> Keeper | None:
        """The template for containers like this, in whatever state."""
        return self._current if self._current is not None and self._current.fits(spec) else None

    def wait(self, wish: Wish) -> None:
        """This one starts once it is known whether there is a template."""
        self._waiting[wish.spec.id] = wish

    def drop_waiting(self, container: str | None = None) -> bool:
        """Forget the wish of this container, or of all; whether there was one."""
        if container is None:
            found = bool(self._waiting)
            self._waiting.clear()
            return found
        return self._waiting.pop(container, None) is not None

    def changed(self, keeper: Keeper) -> None:
        """Tell the agent how it stands, and start what has waited for it."""
        told = {key: keeper.why[key] for key in _TOLD if key in keeper.why}
        if keeper.packages.stays:
            told["packages"] = {"pid": keeper.packages.pid, "names": keeper.packages.names}
        self._tell({"t": "template", "state": keeper.state, "pid": keeper.pid} | told)
        self._begin_waiting(keeper)
        self._earlier = [one for one in self._earlier if one.is_live]

    def _begin_waiting(self, keeper: Keeper) -> None:
        """Start what has waited for this template, or for a spare of it."""
        if keeper is not self._current or keeper.state == "building":
            return
        waiting, self._waiting = self._waiting, {}
        for wish in waiting.values():
            try:
                self._begin(wish)
            except ContainerStartError as failure:
                self._tell({"t": "refused", "container": wish.spec.id, **failure.to_wire()})

    def printed(self, stream: int, data: bytes) -> None:
        """Pass on what code has printed while it was loaded."""
        text = data.decode("utf-8", "replace")
        self._tell({"t": "printed", "stream": stream, "at": time.time(), "text": text})

    def rest(self) -> None:
        """No container is wanted from the one that there is: its packages stay, for a later version."""
        if self._current is not None:
            self._current.rest()

    def close(self) -> None:
        """Every one of them goes, with the last of its containers."""
        self._retire()

    def _retire(self) -> None:
        if self._current is not None:
            self._earlier = [one for one in (*self._earlier, self._current) if one.is_live]
            self._current.close()
            self._current = None
