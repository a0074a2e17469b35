import itertools
import json

import pytest
from hypothesis import given, strategies as st

from measure import (
    Bar,
    Summary,
    Turn,
    as_json,
    judge,
    percentile,
    report_turn,
    results_of,
    summarise,
    table,
    take_turn,
    timed,
)

amounts = st.floats(min_value=1e-6, max_value=1e9)
UNITS = {"warm_call_ms": "ms", "map_10k_per_s": "1/s"}


def one(p50: float, unit: str = "ms") -> Summary:
    return Summary(unit=unit, p50=p50, p95=p50, p99=p50, n=1)


@given(st.lists(amounts, min_size=1), st.floats(min_value=0, max_value=1))
def test_a_percentile_lies_between_the_least_and_the_most(samples: list[float], share: float) -> None:
    slack = 1e-9 * max(samples)
    assert min(samples) - slack <= percentile(samples, share) <= max(samples) + slack


@given(st.lists(amounts, min_size=1))
def test_percentiles_grow_with_the_share_and_do_not_depend_on_the_order(samples: list[float]) -> None:
    shares = (0.0, 0.5, 0.95, 0.99, 1.0)
    cuts = [percentile(samples, share) for share in shares]
    assert all(low <= high * (1 + 1e-9) for low, high in itertools.pairwise(cuts))
    assert cuts == [percentile(samples[::-1], share) for share in shares]


def test_percentiles_of_a_known_sample_are_read_between_neighbours() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5
    assert percentile([0.0, 100.0], 0.95) == pytest.approx(95.0)
    assert percentile([7.0], 0.99) == 7.0


def test_no_samples_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)


def test_a_summary_counts_its_samples_and_rounds_to_five_digits() -> None:
    assert summarise([1.23456789] * 3, "ms") == Summary(unit="ms", p50=1.2346, p95=1.2346, p99=1.2346, n=3)


def test_turns_are_pooled_and_who_measured_nothing_is_left_out() -> None:
    turns = {
        "squall": [Turn(samples={"warm_call_ms": [1.0, 2.0]}), Turn(samples={"warm_call_ms": [3.0]})],
        "ray_task": [Turn(skipped="not installed")],
    }
    results = results_of(turns, UNITS)
    assert list(results) == ["squall"]
    assert results["squall"]["warm_call_ms"].n == 3
    assert results["squall"]["warm_call_ms"].p50 == 2.0
    assert "map_10k_per_s" not in results["squall"]


def test_the_json_object_has_the_shape_that_all_benches_share() -> None:
    printed = json.loads(json.dumps(as_json({"squall": {"warm_call_ms": one(0.5)}}, {"cpus": 2})))
    assert printed == {
        "machine": {"cpus": 2},
        "results": {"squall": {"warm_call_ms": {"unit": "ms", "p50": 0.5, "p95": 0.5, "p99": 0.5, "n": 1}}},
    }


@pytest.mark.parametrize(
    ("bar", "met"),
    [
        (Bar(metric="warm_call_ms", factor=1.0), True),
        (Bar(metric="warm_call_ms", factor=0.5, theirs="ray_actor"), True),
        (Bar(metric="warm_call_ms", factor=0.3, theirs="ray_actor"), False),
        (Bar(metric="map_10k_per_s", factor=20_000, at_least=True), False),
        (Bar(metric="map_10k_per_s", factor=5, theirs="ray_actor", at_least=True), True),
        (Bar(metric="map_10k_per_s", factor=1, theirs="process_pool"), None),
        (Bar(metric="rerun_s", factor=1), None),
    ],
)
def test_a_bar_is_met_missed_or_not_measured(bar: Bar, met: bool | None) -> None:
    results = {
        "squall": {"warm_call_ms": one(0.5), "map_10k_per_s": one(15_000, "1/s")},
        "ray_actor": {"warm_call_ms": one(1.2), "map_10k_per_s": one(2_000, "1/s")},
    }
    verdict, line = judge(bar, results)
    assert verdict is met
    assert bar.metric in line


def test_the_table_gives_each_median_as_a_multiple_of_the_reference() -> None:
    lines = table(
        {"squall": {"warm_call_ms": one(0.5)}, "process_pool": {"warm_call_ms": one(0.25)}},
        reference="process_pool",
    )
    assert lines[1].split()[:3] == ["warm_call_ms", "squall", "0.5"]
    assert lines[1].split()[-1] == "2.00"


def test_timed_gives_the_value_beside_the_seconds() -> None:
    taken_s, value = timed(lambda: 42)
    assert value == 42
    assert taken_s >= 0


def test_a_turn_crosses_the_process_boundary_whole(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    turn = Turn(samples={"warm_call_ms": [1.0]}, notes=("as said",))
    report_turn(turn)
    line = capsys.readouterr().out
    script = tmp_path_factory.mktemp("turn") / "child.py"
    script.write_text(f"import sys\nprint('noise')\nsys.stdout.write({line!r})\n")
    assert take_turn(str(script), "squall", quick=True) == turn


def test_a_turn_that_breaks_is_a_failure_and_not_an_absence(tmp_path_factory: pytest.TempPathFactory) -> None:
    script = tmp_path_factory.mktemp("turn") / "child.py"
    script.write_text("raise SystemExit(3)\n")
    turn = take_turn(str(script), "squall", quick=False)
    assert turn.failed
    assert "3" in turn.skipped
