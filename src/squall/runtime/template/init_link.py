"""The launcher's link to the init of a template: started, spoken to, and buried with all that was below it."""

import os
import selectors
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from squall.runtime import namespaces, packet, scratch, syscalls
from squall.runtime.apply import NAMESPACES
from squall.runtime.attacher import Attacher
from squall.runtime.cgroups import Group, make_group
from squall.runtime.container import a_line, open_or_end
from squall.runtime.spec import SandboxSpec
from squall.runtime.template import init
from squall.runtime.template.around import Around
from squall.runtime.template.plan import boxes_of, plan_template

Message = dict[str, Any]


class InitLink:
    """One init. source: as for its plan; hear gets what it says; ended is called once, when it and all below it have ended."""

    def __init__(
        self,
        spec: SandboxSpec,
        around: Around,
        *,
        source: str | None,
        hear: Callable[[Message], None],
        ended: Callable[[], None],
    ) -> None:
        self.attacher: Attacher | None = None
        self._spec = spec
        self._source = source
        self._around = around
        self._hear = hear
        self._ended = ended
        self._group: Group | None = None
        self._pid = 0
        self._pidfd = -1
        self._hold = -1
        self._line: socket.socket

    def start(self) -> None:
        """Begin. Raises OSError where it could not even be forked."""
        host, top = self._around.host, self._spec.scratch
        own = replace(self._spec, scratch=f"{boxes_of(top)}/template")
        plan = plan_template(self._spec, host, top=top, source=self._source)
        self._hold = scratch.make(top)
        for path in (boxes_of(top), own.scratch):
            self._make_own_directory(path)
        if host.cgroup.usable:
            self._group = make_group(host.cgroup, self._around.group_name(self._spec.id), self._spec.limits)
            self.attacher = Attacher()
        self._line, inner = a_line()
        flags = 0
        for name in plan.namespaces:
            flags |= NAMESPACES[name]
        try:
            ids = self._around.id_maps.for_spec(self._spec, host)
            self._pid = syscalls.clone(flags)
            if self._pid == 0:
                init.live(init.TemplateBirth(spec=own, plan=plan, host=host, line=inner, ids=ids))
            self._pidfd = open_or_end(self._pid)
        finally:
            inner.close()
        if "user" in plan.namespaces:
            namespaces.write_id_maps(self._pid, host, uid_base=self._spec.uid_base)
            self.say({"t": "mapped"})
        if self._group is not None:
            self._group.add(self._pid)
        self._around.selector.register(self._line, selectors.EVENT_READ, self.listen)
        self._around.selector.register(self._pidfd, selectors.EVENT_READ, self._bury)

    @property
    def is_live(self) -> bool:
        """Whether its end has not been taken up yet."""
        return self._pidfd >= 0

    def say(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Tell it something. Raises OSError where it is gone."""
        packet.send(self._line, message, fds)

    def use(self, spec: SandboxSpec, name: str) -> None:
        """What is made from here on is like `spec`; name: of the directory for its template. Raises OSError, ValueError."""
        own = replace(spec, scratch=f"{boxes_of(self._spec.scratch)}/{name}")
        self._make_own_directory(own.scratch)
        self.say({"t": "spec", "spec": own.to_json()})

    def _make_own_directory(self, path: str) -> None:
        os.mkdir(path, 0o700)
        if self._around.host.privileged and (owner := self._spec.uid_base) is not None:
            os.chown(path, owner, owner)

    def map_ids(self) -> None:
        """It has made its user namespace and waits: as root's its ids are mapped now."""
        if self._around.host.privileged:
            namespaces.write_id_maps(self._pid, self._around.host, uid_base=self._spec.uid_base)
        self.say({"t": "go"})

    def kill(self) -> None:
        """End it, and with it the template, every sandbox and every container from there."""
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass  # It has ended by itself.

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel has killed something in the group of the template for memory."""
        return self._group is not None and self._group.oom_kills() > 0

    def listen(self) -> None:
        """Take in what it has said by now."""
        while True:
            try:
                got = packet.heard(self._line)
            except BlockingIOError:
                return
            if got is None:
                self._around.unlisten(self._line.fileno())
                return
            try:
                self._hear(got.message)
            except OSError:
                # It has ended in between, as the next look at its pidfd shows; or it cannot be what it is for.
                self.kill()

    def _bury(self) -> None:
        self.listen()
        self._around.unlisten(self._pidfd)
        self._around.unlisten(self._line.fileno())
        os.waitpid(self._pid, 0)
        os.close(self._pidfd)
        self._pidfd = -1
        self._line.close()
        os.close(self._hold)
        self._ended()
        if self.attacher is not None:
            self.attacher.close()
        if self._group is not None:
            self._around.remove_group(self._group)
        self._around.sweep(self._spec.scratch)
