"""No two that are alive have the same address, however they come, end, lose their launcher or their agent."""

from __future__ import annotations

from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from squall.agent.addresses import Addresses

_ROOM = 6
_holders = st.sampled_from([f"c{n}" for n in range(9)])
_launchers = st.sampled_from(["l1", "l2", ""])


class Node(RuleBasedStateMachine):
    """The addresses that an agent gives, beside what really has one."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses = Addresses()
        self.alive: dict[str, tuple[int, str]] = {}

    @rule(holder=_holders, launcher=_launchers)
    def comes(self, holder: str, launcher: str) -> None:
        number = self.addresses.give(holder, _ROOM, launcher=launcher)
        known = self.alive.get(holder)
        if known is not None:
            assert number == known[0]
        elif number is None:
            assert len(self.alive) == _ROOM
        else:
            assert number in set(range(_ROOM)) - {taken for taken, _ in self.alive.values()}
            self.alive[holder] = (number, launcher)

    @rule(holder=_holders)
    def ends(self, holder: str) -> None:
        self.addresses.release(holder)
        self.alive.pop(holder, None)

    @rule(launcher=_launchers.filter(bool))
    def loses_its_launcher(self, launcher: str) -> None:
        self.addresses.lost(launcher)
        self.alive = {name: has for name, has in self.alive.items() if has[1] != launcher}

    @rule()
    def gets_another_agent(self) -> None:
        self.addresses = Addresses()
        for holder, (number, launcher) in self.alive.items():
            self.addresses.adopt(holder, number, launcher=launcher)

    @invariant()
    def nobody_shares_one(self) -> None:
        assert sorted(self.addresses.all()) == sorted({number for number, _ in self.alive.values()})


TestNode = Node.TestCase


@given(st.lists(st.integers(0, _ROOM - 2), min_size=1, unique=True), st.data())
def test_what_leaves_an_agent_that_has_just_come_is_not_given_at_once(
    numbers: list[int], data: st.DataObject
) -> None:
    addresses = Addresses()
    for number in numbers:
        addresses.adopt(f"c{number}", number, launcher="")
    left = data.draw(st.sampled_from(numbers))
    addresses.release(f"c{left}")
    # The devices that it was joined by may still be being taken down.
    assert addresses.give("another", _ROOM) != left
