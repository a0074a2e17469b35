"""What the index of free room answers, whatever came and went before."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from squall.model.ids import NodeId
from squall.model.resources import Resources
from squall.scheduling.place import LOOKED_AT, Near, Room, Wish

NODES = [NodeId(f"no-{number:02}") for number in range(12)]
TYPES = {NODES[1]: ("H100",), NODES[2]: ("A100-80GB", "H100"), NODES[3]: ("A100-80GB",)}
amounts = st.builds(
    Resources,
    cpu_milli=st.integers(0, 40) | st.integers(0, 64_000),
    memory_mib=st.integers(0, 40) | st.integers(0, 256_000),
    gpus=st.sampled_from([0, 0, 0, 1, 2, 8]),
)
names = st.sampled_from(NODES)
wishes = st.builds(
    Wish, asks=amounts, gpu_type=st.sampled_from([None, None, "H100", "A100-80GB", "none such"])
)
nears = st.builds(Near, templates=st.frozensets(names), images=st.frozensets(names))


def fits(wish: Wish, node: NodeId, free: Resources) -> bool:
    return wish.asks.fits_in(free) and (wish.gpu_type is None or wish.gpu_type in TYPES.get(node, ()))


class Index(RuleBasedStateMachine):
    """The index beside a plain dict of what is free."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room({}, TYPES)
        self.free: dict[NodeId, Resources] = {}

    @rule(node=names, free=amounts)
    def a_node_has_other_room(self, node: NodeId, free: Resources) -> None:
        self.room.put(node, free)
        self.free[node] = free

    @rule(node=names)
    def a_node_goes(self, node: NodeId) -> None:
        self.room.drop(node)
        self.free.pop(node, None)

    @rule(wish=wishes, near=nears)
    def a_container_is_placed_wherever_any_node_holds_it(self, wish: Wish, near: Near) -> None:
        fitting = {node for node, free in self.free.items() if fits(wish, node, free)}
        node = self.room.find(wish, near)
        assert (node is None) == (not fitting), "room was overlooked" if fitting else "no node fits"
        if node is not None:
            assert node in fitting
            self.room.take(node, wish.asks)
            self.free[node] = self.free[node].minus(wish.asks)

    @rule(node=names, asks=amounts)
    def a_container_goes(self, node: NodeId, asks: Resources) -> None:
        if node in self.free:
            self.room.give(node, asks)
            self.free[node] = self.free[node].plus(asks)

    @invariant()
    def it_knows_what_is_free(self) -> None:
        assert all(self.room.free(node) == free for node, free in self.free.items())


TestIndex = Index.TestCase


@given(
    free=st.dictionaries(names, amounts, min_size=1, max_size=LOOKED_AT),
    asks=amounts,
    near=nears,
)
def test_of_a_few_nodes_the_best_is_found(free: dict[NodeId, Resources], asks: Resources, near: Near) -> None:
    """The fewest free GPUs, then a template, then an image, then, to a quarter, the fullest in cpu."""
    node = Room(free).find(Wish(asks=asks), near)
    fitting = {name: amount for name, amount in free.items() if asks.fits_in(amount)}
    if node is None:
        return
    gpus = min(amount.gpus for amount in fitting.values())
    assert fitting[node].gpus == gpus
    level = {name for name, amount in fitting.items() if amount.gpus == gpus}
    few = len(near.templates) <= LOOKED_AT and len(near.images) <= LOOKED_AT
    if few and level & near.templates:
        assert node in near.templates
    elif few and level & near.images:
        assert node in near.images
    elif not near.templates and not near.images:
        fullest = min(fitting[name].cpu_milli for name in level)
        assert fitting[node].cpu_milli <= fullest * 1.25
    assert Room(dict(reversed(free.items()))).find(Wish(asks=asks), near) == node, "it hangs on the order"


def test_among_many_alike_one_that_has_the_template_is_looked_for() -> None:
    many = [NodeId(f"no-{number:04}") for number in range(1000)]
    room = Room(dict.fromkeys(many, Resources(cpu_milli=4000, memory_mib=4000)))
    wish = Wish(asks=Resources(cpu_milli=100, memory_mib=100))
    assert room.find(wish, Near(templates=frozenset({many[777]}))) == many[777]
    assert room.find(wish, Near(images=frozenset(many[500:503]))) in many[500:503]


def test_one_that_fits_is_found_behind_many_that_do_not() -> None:
    """All lie in one bucket: 4,000 to 4,999 MiB. Only the last has enough."""
    many = [NodeId(f"no-{number:04}") for number in range(100)]
    free = {name: Resources(cpu_milli=1000, memory_mib=4100) for name in many}
    free[many[-1]] = Resources(cpu_milli=1000, memory_mib=4200)
    assert Room(free).find(Wish(asks=Resources(cpu_milli=1000, memory_mib=4150))) == many[-1]


def test_who_is_not_there_has_nothing_free() -> None:
    room = Room({NODES[0]: Resources(cpu_milli=1)})
    room.drop(NODES[0])
    room.drop(NODES[0])
    with pytest.raises(KeyError):
        room.free(NODES[0])
    assert room.find(Wish(asks=Resources())) is None
