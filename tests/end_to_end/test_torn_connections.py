"""A client whose connections are torn again and again, or whose frames come twice: every result, in order, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from squall.testing.chaos.counting import count
from squall.testing.chaos.gate import CLIENTS
from squall.testing.chaos.house import LocalHouse
from squall.testing.chaos_proxy import Weather

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(240)]

INPUTS = 10_000
PATIENCE_S = 120.0


@pytest.fixture
def house() -> Iterator[LocalHouse]:
    """A server that runs, with a gate before it."""
    found = LocalHouse.made(options={"idle_s": "0"})
    try:
        assert found.client("first", {"call": 1}).wait(PATIENCE_S) == 0, found.logs()
        found.open_gate(seed=5)
        yield found
    finally:
        left = found.down()
    assert not left


@pytest.mark.parametrize(
    ("weather", "kind"),
    [
        pytest.param(Weather(reset_every_s=1.0), "reset", id="torn-every-second"),
        pytest.param(Weather(duplicate=0.05), "duplicated", id="every-twentieth-frame-twice"),
    ],
)
def test_a_map_and_spawned_calls_of_a_client_with_a_bad_line_come_to_their_end(
    house: LocalHouse, weather: Weather, kind: str
) -> None:
    assert house.gate is not None
    house.gate.set(CLIENTS, weather)
    wish = {"map": INPUTS, "spawn": 500, "large": 2, "gen": 3, "seconds": 0.001}
    client = house.client("far", wish, by_gate=True)
    assert client.wait(PATIENCE_S) == 0, house.logs()
    counts = count(house.account(frozenset({"far"})))
    assert not counts.broken
    assert (counts.lost, counts.doubled, counts.stuck) == (0, 0, 0)
    assert counts.accepted == INPUTS + 500 + 2 + 3
    assert house.gate.close()[kind] >= 3
