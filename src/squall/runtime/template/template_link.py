"""The launcher's link to the process of a template: started whole or from packages that stay, spoken to, and ended."""

import os
import selectors
import socket
from collections.abc import Callable, Mapping
from typing import Any

from squall.runtime import packet
from squall.runtime.container import a_line
from squall.runtime.spec import SandboxSpec
from squall.runtime.template.around import Around
from squall.runtime.template.init_link import InitLink
from squall.runtime.template.packages_link import Door, PackagesLink
from squall.runtime.template.printed import Printed
from squall.wire.rights import close_all

Message = dict[str, Any]

# User code of the version before may have stopped the packages: it runs with the same ids.
_BORN_WITHIN_S = 5.0


class TemplateLink:
    """One process at a time, and the packages from which the next may come.

    hear: what it says, and the pid of who says it; born: it is there, and containers can be made ready for it; printed: what the
    user's code prints. inner_pid: of it for the template's init, 0 for none.
    """

    def __init__(
        self,
        around: Around,
        init: InitLink,
        *,
        hear: Callable[[Message, int], None],
        born: Callable[[], None],
        printed: Callable[[int, bytes], None],
    ) -> None:
        self.inner_pid = 0
        self.packages = PackagesLink(around)
        self._around = around
        self._init = init
        self._hear = hear
        self._born = born
        self._printed = Printed(around, printed)
        self._spec: SandboxSpec
        self._load: dict[str, Any] = {}
        self._code: tuple[int, ...] = ()
        self._may_stay = False
        self._derived = False
        self._number = 0
        self._control: socket.socket | None = None
        self._door: Door | None = None

    def load_next(
        self, spec: SandboxSpec, load: Mapping[str, Any], code: int | None, *, may_stay: bool
    ) -> None:
        """What the next process is like and shall load, with the file of what travels by value. may_stay: packages, for what comes
        after.
        """
        self._let_go_of_code()
        self._spec = spec
        self._load = dict(load)
        self._code = () if code is None else (os.dup(code),)
        self._may_stay = may_stay

    def start(self, *, packages_first: bool = True) -> None:
        """Have the init fork one that loads everything, its packages first where they may stay. Raises OSError, ValueError."""
        self._begin()
        self._derived = False
        packages = self.packages.open() if self._may_stay and packages_first else None
        control, out, err = self._open_ends()
        try:
            theirs = () if packages is None else (packages.fileno(),)
            message: Message = {"t": "template", "load": self._load, "packages": packages is not None}
            self._init.say(
                {**message, "number": self._number}, (control.fileno(), out, err, *theirs, *self._code)
            )
        finally:
            _close_ends(control, out, err)
            if packages is not None:
                packages.close()

    def start_from_packages(self) -> None:
        """Have it forked from the packages, in a root that the init makes for it. Raises OSError, ValueError."""
        self._begin()
        self._derived = True
        self._door = door = Door(self._around, self._enter)
        try:
            self._init.say({"t": "door"}, (door.inner.fileno(),))
        finally:
            door.inner.close()
        number = self._number
        self._around.timers.at(self._around.now_s() + _BORN_WITHIN_S, lambda: self._see_it_is_born(number))

    def forked(self, message: Message) -> None:
        """The init has forked the process that was asked for, unless that is out of date by now."""
        if message.get("number") == self._number and not self.inner_pid:
            self.inner_pid = message["pid"]
            self._born()

    def send(self, message: Message, fds: tuple[int, ...]) -> None:
        """Tell it something. Raises OSError where it is gone."""
        if self._control is None:
            raise BrokenPipeError("the template is gone")
        packet.send(self._control, message, fds)

    def kill(self) -> None:
        """End the process; the packages stay."""
        self._kill(self.inner_pid)

    def hang_up(self) -> None:
        """Say and hear nothing more: it ends by itself, unless it hangs."""
        self._let_go_of_code()
        self._close_lines()

    def close(self) -> None:
        """All of it has ended."""
        self.hang_up()
        self.packages.close()
        self._printed.close()

    def listen(self) -> None:
        """Take in what it has said by now."""
        while self._control is not None:
            try:
                got = packet.heard(self._control)
            except BlockingIOError:
                return
            if got is None:
                self.hang_up()
                return
            close_all(got.fds)
            try:
                self._take(got.message, got.sender)
            except (ArithmeticError, KeyError, TypeError, ValueError):
                # User code runs in there: what makes no sense ends the template, and nothing else.
                self.kill()

    def _take(self, message: Message, sender: int) -> None:
        match message.get("t"):
            case "born" if self._may_stay:
                self._be_born(int(message["pid"]), int(message["packages"]))
            case "unfit" if self._may_stay:
                self._start_again()
            case "ready":
                self._let_go_of_code()
                self._hear(message, sender)
            case _:
                self._hear(message, sender)

    def _be_born(self, inner_pid: int, packages_pid: int) -> None:
        """A template was forked from packages, which stay: what the init has forked is them."""
        self._may_stay = False
        self.packages.inner_pid = packages_pid
        self.packages.listen()
        self.inner_pid = inner_pid
        self._born()

    def _see_it_is_born(self, number: int) -> None:
        if number == self._number and not self.inner_pid and self._door is not None:
            self._start_again()

    def _start_again(self) -> None:
        """The packages were not what the code would have imported. Those of another version end; of its own, it needs none."""
        self._kill(self.packages.inner_pid)
        self.packages.close()
        try:
            self.start(packages_first=self._derived)
        except (OSError, ValueError):
            # Nothing can be told to the init any more, whose end says the rest.
            self._init.kill()

    def _enter(self, door: int | None) -> None:
        control, out, err = self._open_ends()
        try:
            if door is None:
                raise BrokenPipeError("there is no way into its root")
            self.packages.derive(self._load, (door, control.fileno(), out, err, *self._code))
        except (OSError, ValueError):
            self._start_again()
        finally:
            _close_ends(control, out, err)

    def _kill(self, inner_pid: int) -> None:
        if inner_pid and self._init.is_live:
            try:
                self._init.say({"t": "kill", "pid": inner_pid})
            except OSError:
                pass  # Its init has ended, and all of them with it.

    def _begin(self) -> None:
        self._number += 1
        self.inner_pid = 0
        self._close_lines()
        if self._number > 1:
            # Each has a root of its own.
            self._init.use(self._spec, f"template-{self._number}")

    def _open_ends(self) -> tuple[socket.socket, int, int]:
        """The ends of a new process's socket and pipes, for it; ours are listened to."""
        self._control, inner = a_line()
        self._around.selector.register(self._control, selectors.EVENT_READ, self.listen)
        return (inner, *self._printed.open())

    def _close_lines(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None
        if self._control is not None:
            self._around.unlisten(self._control.fileno())
            self._control.close()
            self._control = None

    def _let_go_of_code(self) -> None:
        close_all(self._code)
        self._code = ()


def _close_ends(control: socket.socket, out: int, err: int) -> None:
    control.close()
    close_all((out, err))
