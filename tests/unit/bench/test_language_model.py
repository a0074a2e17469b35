from __future__ import annotations

import language_model
from language_model import Timed


def call(ms: float, *, before: float, generation: float, cpu: float) -> Timed:
    return Timed(call_ms=ms, before_ms=before, generation_ms=generation, cpu_ms=cpu, text="")


def test_every_bar_speaks_of_a_metric_and_a_contender_that_exist() -> None:
    for bar in (*language_model.BARS, *language_model.AIMS):
        assert bar.metric in language_model.UNITS
        assert bar.who in language_model.CLASSES
    assert set(language_model.STARTS) == set(language_model.CLASSES)


def test_what_a_first_call_costs_over_generation_is_told_with_what_generation_costs_more_then() -> None:
    first = call(640.0, before=20.0, generation=610.0, cpu=590.0)
    warm = [call(ms, before=2.0, generation=ms - 3, cpu=ms - 20) for ms in (580.0, 590.0, 900.0)]
    samples = {name: value for name, (value,) in language_model.samples_of(first, warm).items()}
    assert samples["over_generation_ms"] == 30.0
    assert samples["extra_cpu_ms"] == 20.0
    assert samples["over_and_extra_ms"] == 50.0
    assert samples["over_warm_call_ms"] == 50.0
    assert set(samples) == set(language_model.UNITS)
