"""Calls that containers make: of every verb, from both kinds of function, as deep as they like."""

from __future__ import annotations

from math import factorial
from typing import Any

import pytest


def test_a_container_calls_maps_spawns_and_reads_items(verbs: Any) -> None:
    assert verbs.sum_of_doubles.remote(50) == verbs.sum_of_doubles_async.remote(50) == 2450
    assert verbs.sum_of_items.remote(5) == 10
    identifier, value = verbs.spawns.remote(5)
    assert identifier.startswith("fc-")
    assert value == 10


def test_each_level_gets_a_container_even_where_inputs_are_short(verbs: Any) -> None:
    # Short ones first: containers then hold more than one input, and must not keep what they themselves wait for.
    verbs.factorial.for_each([1] * 300)
    assert list(verbs.factorial.map([6] * 2)) == [factorial(6)] * 2
    assert verbs.factorial_async.remote(6) == factorial(6)


def test_what_was_raised_further_in_comes_all_the_way(verbs: Any) -> None:
    with pytest.raises(ValueError, match="no 2") as caught:
        verbs.asks_wrongly.remote()
    names = [entry.name for entry in caught.traceback]
    assert names.index("asks_wrongly") < names.index("picky")
