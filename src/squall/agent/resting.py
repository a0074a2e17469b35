"""Resting: launchers that no function has, kept because a later version of the one that had it can use its packages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from squall.agent.launcher_link import LauncherLink
from squall.agent.memory import private_bytes
from squall.scheduling.template_sweep import TemplateView


@dataclass(frozen=True, slots=True)
class _Rested:
    link: LauncherLink
    since_s: float


class Resting:
    """By family, which says what the versions of one function have in common; times in seconds of the event loop."""

    def __init__(self) -> None:
        self._by_family: dict[str, _Rested] = {}

    def __iter__(self) -> Iterator[LauncherLink]:
        return (one.link for one in self._by_family.values())

    def __contains__(self, link: object) -> bool:
        return any(one is link for one in self)

    def add(self, link: LauncherLink, now_s: float) -> None:
        """It rests from now on, with the packages that it has told of. One of the same family that rested before it ends."""
        if (before := self._by_family.pop(link.family, None)) is not None:
            before.link.tell("quit")
        self._by_family[link.family] = _Rested(link, now_s)

    def take(self, family: str) -> LauncherLink | None:
        """The one for a function of this family, the caller's from now on."""
        found = self._by_family.pop(family, None) if family else None
        return None if found is None else found.link

    def forget(self, link: LauncherLink) -> None:
        """It is gone."""
        if link in self:
            del self._by_family[link.family]

    @property
    def taken_bytes(self) -> int:
        """What they have in memory, each alone."""
        return sum(private_bytes(link.packages_pid) for link in self)

    def views(self, now_s: float) -> dict[str, tuple[LauncherLink, TemplateView]]:
        """Each by a name of its own, as the sweep sees it."""
        found = {}
        for one in self._by_family.values():
            name, size = one.link.name, private_bytes(one.link.packages_pid)
            found[name] = one.link, TemplateView(name=name, idle_s=now_s - one.since_s, bytes=size)
        return found
