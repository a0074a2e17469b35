"""Joining: how a launcher has its containers and prepared sandboxes joined to the host's network."""

import os
import selectors
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from squall.runtime.network import carrier, veth
from squall.runtime.spec import Carrier, SandboxSpec, Veth

Message = dict[str, Any]
# "" once the network is there, else why it is not.
Joined = Callable[[str], None]


@dataclass(slots=True)
class _Wanted:
    """A sandbox that gets an address. pid: its first process, once that has a network; joined: who waits for it."""

    veth: Veth | None = None
    refused: str = ""
    pid: int = 0
    joined: Joined | None = None


class Joining:
    """One launcher's. tell: to the agent, which has the addresses; beside: has a child do something."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        *,
        tell: Callable[[Message], None],
        beside: Callable[[Callable[[], int]], None],
    ) -> None:
        self._selector = selector
        self._tell = tell
        self._beside = beside
        self._sandboxes: dict[str, _Wanted] = {}

    def want(self, sandbox: str, spec: SandboxSpec) -> None:
        """A sandbox like `spec` is being made: if it gets an address, ask for it now."""
        if spec.network == "veth":
            self._sandboxes[sandbox] = _Wanted()
            self._ask(sandbox)

    def ask_again(self) -> None:
        """Another agent is there: it knows nothing of what the one before was asked."""
        for name, wanted in self._sandboxes.items():
            if wanted.veth is None and not wanted.refused:
                self._ask(name)

    def join(self, sandbox: str, spec: SandboxSpec, pid: int, joined: Joined) -> None:
        """Join the network of a sandbox's first process `pid` to the host's, in the way of `spec`; `joined` is called then.

        That is at once where it takes nothing, and later where an address or a carrier is waited for.
        """
        if spec.carrier is not None:
            self.lead_out(spec.carrier, pid, joined)
        elif (wanted := self._sandboxes.get(sandbox)) is not None:
            wanted.pid, wanted.joined = pid, joined
            self._attach(wanted)
        else:
            joined("")

    def given(self, message: Message) -> None:
        """The agent has an address for a sandbox, or says why there is none. Raises ValueError for one that cannot be."""
        name = str(message["sandbox"])
        wanted = self._sandboxes.get(name)
        if wanted is None:
            # It has ended meanwhile.
            self._tell({"t": "veth_free", "sandbox": name})
        elif message.get("veth") is None:
            wanted.refused = str(message.get("why") or "there is no address")
            self._attach(wanted)
        elif wanted.veth is None:
            wanted.refused = ""
            wanted.veth = Veth(**message["veth"])
            self._attach(wanted)

    def veth_of(self, sandbox: str) -> Veth | None:
        """How this sandbox is joined, if it is by an address of its own."""
        wanted = self._sandboxes.get(sandbox)
        return None if wanted is None else wanted.veth

    def held(self) -> dict[str, str]:
        """The address of each sandbox that has one."""
        return {name: one.veth.address for name, one in self._sandboxes.items() if one.veth is not None}

    def leave(self, sandbox: str) -> None:
        """This one has ended: what it had is free."""
        if self._sandboxes.pop(sandbox, None) is not None:
            self._tell({"t": "veth_free", "sandbox": sandbox})

    def lead_out(self, through: Carrier, pid: int, joined: Joined) -> None:
        """Have a carrier join the network of the process `pid` to the host's; it ends with that process."""
        reads, writes = os.pipe2(os.O_CLOEXEC)
        self._beside(lambda: carrier.lead(through, pid, writes))
        os.close(writes)

        def take_up() -> None:
            self._selector.unregister(reads)
            said = os.read(reads, 4096).decode(errors="replace")
            os.close(reads)
            joined(said.strip() if said else "its carrier ended")

        self._selector.register(reads, selectors.EVENT_READ, take_up)

    def _ask(self, sandbox: str) -> None:
        self._tell({"t": "veth_wanted", "sandbox": sandbox})

    def _attach(self, wanted: _Wanted) -> None:
        if wanted.joined is None:
            return
        if wanted.veth is None:
            if wanted.refused:
                wanted.joined(wanted.refused)
            return
        try:
            veth.attach(wanted.veth, wanted.pid)
        except OSError as problem:
            wanted.joined(f"{problem}")
        else:
            wanted.joined("")
