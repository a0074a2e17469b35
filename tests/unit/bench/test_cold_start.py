import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import cold_start
import container_peers
import end_to_end
import launcher_peer
from measure import PHASE, Summary, judge, table
from scene import KINDS, AbsentError, Sample, Scene, a_scene, parse_answer

WHO = ["bwrap", "process", "os_fork"]


def a_call(rung: str, **phases: float) -> dict[str, object]:
    return {"first_ms": 2.0, "result_ms": 3.0, "rung": rung, "phases_ms": phases, "edits": 0}


def test_every_bar_and_aim_speaks_of_a_metric_and_a_contender_that_exist() -> None:
    known = {*cold_start.CONTENDERS, "squall"}
    for bar in (*cold_start.BARS, *cold_start.AIMS):
        assert bar.metric in cold_start.UNITS
        assert bar.who in known
        assert not bar.theirs or bar.theirs in known


def test_a_bar_may_be_on_the_tail_of_ours() -> None:
    tail = next(bar for bar in cold_start.BARS if bar.what == "p99")
    results = {"squall": {tail.metric: Summary(unit="ms", p50=1.0, p95=50.0, p99=61.0, n=100)}}
    met, line = judge(tail, results)
    assert met is False
    assert "p99" in line
    assert "61" in line


def test_phases_are_for_machines_and_not_in_the_table() -> None:
    one = Summary(unit="ms", p50=1.0, p95=1.0, p99=1.0, n=1)
    lines = table(
        {"squall_parked": {f"{PHASE}built_bare_ms": one, "result_bare_ms": one}}, reference="squall_parked"
    )
    assert [line.split()[0] for line in lines[1:]] == ["result_bare_ms"]


@given(st.integers(min_value=0, max_value=1000))
def test_in_each_round_everybody_has_a_turn_and_each_goes_first_in_its_time(number: int) -> None:
    assert sorted(cold_start.in_turn(WHO, number)) == sorted(WHO)
    assert {cold_start.in_turn(WHO, number + step)[0] for step in range(len(WHO))} == set(WHO)
    assert cold_start.in_turn([], number) == []


def test_a_slow_contender_takes_part_in_every_fifth_round_and_a_fast_one_in_all() -> None:
    assert [number for number in range(11) if cold_start.takes_part(number, 5_000.0)] == [0, 5, 10]
    assert all(cold_start.takes_part(number, 20.0) for number in range(11))


@given(st.floats(min_value=0.01, max_value=1e5))
def test_a_rate_is_never_taken_of_a_handful_nor_of_thousands(result_ms: float) -> None:
    assert 8 <= cold_start.count_for_rate(result_ms) <= 200


def test_the_rounds_are_interleaved_and_the_first_ones_do_not_count() -> None:
    asked: list[str] = []

    class Quick:
        def __init__(self, who: str) -> None:
            self.who = who

        def sample(self) -> Sample:
            asked.append(self.who)
            return Sample(first_ms=1.0, result_ms=2.0)

        def starts_per_s(self, count: int) -> float:
            return float(count)

    taken = cold_start.measure_starts({who: Quick(who) for who in WHO}, 3, cold_start.Roll())
    assert {who: len(samples) for who, samples in taken.items()} == dict.fromkeys(WHO, 3)
    rounds = [asked[start : start + 3] for start in range(0, len(asked), 3)]
    assert len(rounds) == 3 + cold_start.WARM_UP
    assert all(sorted(one) == sorted(WHO) for one in rounds)


def test_who_is_absent_or_breaks_is_left_out_and_only_who_breaks_is_a_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Broken:
        def __init__(self, problem: Exception) -> None:
            self.problem = problem
            self.asked = 0

        def sample(self) -> Sample:
            self.asked += 1
            raise self.problem

        def starts_per_s(self, count: int) -> float:
            raise self.problem

    absent, dead = Broken(AbsentError("there is none")), Broken(RuntimeError("the launcher is gone"))
    roll = cold_start.Roll()
    taken = cold_start.measure_starts({"bwrap": absent, "runc": dead}, 5, roll)
    assert taken == {"bwrap": [], "runc": []}
    assert (absent.asked, dead.asked) == (1, 1)
    assert (roll.out, roll.broken) == ({"bwrap", "runc"}, {"runc"})
    assert cold_start.measure_rates({"runc": dead}, 2, 100.0, roll) == {}
    said = capsys.readouterr().err
    assert "skipped bwrap, a start: there is none" in said
    assert "FAILED runc, a start: the launcher is gone" in said


def test_the_figures_of_a_start_have_the_names_that_the_units_know_and_each_phase_its_own() -> None:
    taken = [
        Sample(first_ms=1.0, result_ms=2.0, phases_ms={"built": 0.5}),
        Sample(first_ms=3.0, result_ms=4.0),
    ]
    assert cold_start.samples_of("torch", taken) == {
        "first_line_torch_ms": [1.0, 3.0],
        "result_torch_ms": [2.0, 4.0],
        "phase_built_torch_ms": [0.5],
    }
    assert {cold_start.unit_of(name) for name in cold_start.samples_of("torch", taken)} == {"ms"}


def test_an_option_chooses_from_what_is_known_in_the_known_order() -> None:
    assert cold_start.chosen("", KINDS, "--kinds") == KINDS
    assert cold_start.chosen("torch,bare", KINDS, "--kinds") == ("bare", "torch")
    with pytest.raises(SystemExit, match="jax unknown, of bare"):
        cold_start.chosen("bare,jax", KINDS, "--kinds")


def test_the_answer_of_a_container_is_read_and_a_wrong_one_is_refused() -> None:
    answer = parse_answer(b"12.5 1700000000.25 4\n")
    assert (answer.at, answer.wall) == (12.5, 1700000000.25)
    with pytest.raises(ValueError, match="answered 5"):
        parse_answer(b"12.5 1700000000.25 5\n")
    with pytest.raises(ValueError, match="unpack"):
        parse_answer(b"Traceback\n")


def test_a_scene_has_the_function_of_every_kind_and_leaves_nothing() -> None:
    with a_scene(None) as scene:
        names = {path.name for path in scene.modules.iterdir()}
        assert {"cold_runner.py", "fork_floor.py", *(f"{kind}_work.py" for kind in KINDS)} <= names
        assert "import torch" in (scene.modules / "torch_work.py").read_text()
        assert [kind for kind in KINDS if scene.has(kind)] == ["bare"]
    assert not scene.top.exists()


def test_no_directory_is_shown_twice() -> None:
    shown = Scene(top=Path("/tmp/scene"), heavy=Path("/tmp")).shown()
    assert "/tmp" in shown
    assert not any(one.startswith("/tmp/") for one in shown)


def test_the_peers_are_told_the_same_environment_and_program() -> None:
    scene = Scene(top=Path("/tmp/scene"), heavy=None)
    config = container_peers.oci_config(scene, "numpy")
    process = config["process"]
    assert process["args"] == container_peers.program()
    assert "BENCH_WORK=numpy_work" in process["env"]
    assert not any(process["capabilities"].values())
    assert json.loads(json.dumps(config)) == config
    command = container_peers.bwrap_command("/usr/bin/bwrap", scene, overlay=False)
    assert command[-len(container_peers.program()) :] == container_peers.program()
    # What is bound may lie below the temporary folder, which would hide it if it came later.
    assert command.index("/tmp") < command.index("--ro-bind")
    assert "--tmp-overlay" in container_peers.bwrap_command("/usr/bin/bwrap", scene, overlay=True)


def test_a_rung_is_known_by_its_older_name_too() -> None:
    assert launcher_peer.rung_name("forked") == "parked"
    assert launcher_peer.rung_name("pooled") == "pooled"
    assert end_to_end.who_of("pooled") == "squall_template"
    assert end_to_end.who_of("forked") == "squall_parked"
    assert not end_to_end.who_of("")


def test_the_figures_of_a_call_have_the_names_that_the_units_know() -> None:
    for case in end_to_end.CASES:
        names = set(end_to_end.samples_of_call(case, "bare", a_call("pooled", forked=0.4)))
        assert names - set(end_to_end.UNITS) == {f"phase_forked_{case}_bare_ms"}


def test_samples_of_several_calls_are_put_together() -> None:
    results: dict[str, dict[str, list[float]]] = {}
    for rung in ("pooled", "pooled", "forked"):
        end_to_end.add(
            results, end_to_end.who_of(rung), end_to_end.samples_of_call("end_to_end", "bare", a_call(rung))
        )
    assert results["squall_template"]["end_to_end_bare_ms"] == [3.0, 3.0]
    assert results["squall_parked"]["end_to_end_bare_ms"] == [3.0]


def test_the_line_of_progress_is_about_the_middle_call() -> None:
    calls = [{**a_call("pooled", forked=1.0), "result_ms": ms} for ms in (9.0, 1.0, 5.0)]
    assert "result 5 ms, n 3, by pooled forked 1.0" in end_to_end.line_of("end_to_end", "bare", calls)


def test_each_edit_of_the_app_changes_what_it_answers(tmp_path: Path) -> None:
    source = Path(end_to_end.__file__).with_name("cold_app.py").read_text()
    (tmp_path / "cold_app.py").write_text(source)
    client = end_to_end.Client(tmp_path, "bare")
    client.edit()
    client.edit()
    assert (tmp_path / "cold_app.py").read_text() == source.replace("EDITS = 0", "EDITS = 2")


def test_a_rate_is_that_of_the_starts_that_took_the_rung() -> None:
    full = [launcher_peer.Answered(at=10.0 + place * 0.1, rung="pooled") for place in range(1, 11)]
    empty = [launcher_peer.Answered(at=11.0 + place * 0.5, rung="on_demand") for place in range(1, 11)]
    assert launcher_peer.rate_of(10.0, [*full, *empty], "pooled") == pytest.approx(10.0)
    assert launcher_peer.rate_of(10.0, [*full, *empty], "on_demand") == pytest.approx(2.0)
    assert launcher_peer.rate_of(10.0, full[:4], "pooled") is None
    assert launcher_peer.rate_of(10.0, full, "spare") is None


def test_only_a_start_that_took_the_rung_counts_for_it() -> None:
    taken = [Sample(first_ms=1.0, result_ms=2.0, rung=rung) for rung in ("pooled", "on_demand", "pooled")]
    assert len(cold_start.by_its_rung("squall_template", "bare", taken)) == 2
    assert len(cold_start.by_its_rung("squall_on_demand", "bare", taken)) == 1
    assert cold_start.by_its_rung("squall_spare", "bare", taken) == []
    peers = [Sample(first_ms=1.0, result_ms=2.0)]
    assert cold_start.by_its_rung("bwrap", "bare", peers) == peers
