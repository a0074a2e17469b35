"""Around: what a template and its sandboxes live among in their launcher."""

import selectors
from collections.abc import Callable
from dataclasses import dataclass

from squall.runtime.cgroups import Group
from squall.runtime.host import Host
from squall.runtime.id_maps import IdMaps
from squall.runtime.network.joining import Joining
from squall.runtime.timers import Timers

_REMOVE_AGAIN_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """The launcher's poll loop, and what it does for others.

    joining: to the host's network. id_maps: for files that have containers' ids as owners. sweep: removes a directory beside everything else. beside: has a child do something.
    """

    host: Host
    instance: str
    selector: selectors.BaseSelector
    timers: Timers
    joining: Joining
    id_maps: IdMaps
    sweep: Callable[[str], None]
    beside: Callable[[Callable[[], int]], None]
    now_s: Callable[[], float]

    def group_name(self, name: str) -> str:
        """What the control group of `name` is called, so that it is known as ours."""
        return f"squall-{self.instance}-{name}"

    def remove_group(self, group: Group) -> None:
        """Remove it as soon as nothing is in it any more."""
        try:
            removed = group.remove()
        except OSError:
            return  # The sweep of the next launcher finds it.
        if not removed:
            self.timers.at(self.now_s() + _REMOVE_AGAIN_S, lambda: self.remove_group(group))

    def unlisten(self, fd: int) -> None:
        """Hear nothing more from this descriptor, if it was listened to."""
        if fd >= 0 and fd in self.selector.get_map():
            self.selector.unregister(fd)
