import random

import pytest

import placement
from squall.model.resources import Resources


@pytest.mark.parametrize("who", placement.CONTENDERS)
def test_every_contender_places_within_what_the_nodes_have(who: str) -> None:
    free = placement.cluster(20)
    asked = placement.wishes(random.Random(1), 20 * placement.GPUS)
    placed, took_s = placement.fill(placement.MAKERS[who](dict(free)), asked)
    used = dict.fromkeys(free, Resources())
    for node, asks in placed:
        used[node] = used[node].plus(asks)
    assert all(amount.fits_in(placement.WHOLE) for amount in used.values())
    assert len(placed) > len(asked) / 2
    assert took_s >= 0


def test_every_bar_and_aim_speaks_of_a_metric_and_a_contender_that_exist() -> None:
    for bar in (*placement.BARS, *placement.AIMS):
        assert bar.metric in placement.UNITS
        assert bar.who in placement.CONTENDERS
        assert not bar.theirs or bar.theirs in placement.CONTENDERS
