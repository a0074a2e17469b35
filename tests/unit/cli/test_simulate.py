"""`squall simulate`: its table, its JSON, its picture, and what it says to what makes no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from squall.cli.main import DONE, FAILED, MISUSED, run_command

QUICK = ["simulate", "--hours", "0.05", "--traffic", "timer,rare,steady", "--seed", "3"]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SQUALL_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def test_a_table_has_a_row_for_each_kind_and_policy_and_starts_no_server(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(QUICK) == DONE
    said = capsys.readouterr()
    assert said.out.splitlines()[0].split()[:4] == ["TRAFFIC", "POLICY", "INPUTS", "COLD"]
    assert [line.split()[:2] for line in said.out.splitlines()[1:7]] == [
        [kind, policy] for kind in ("timer", "rare", "steady") for policy in ("squall", "kpa")
    ]
    assert "squall: " in said.out
    assert not said.err, "progress is for terminals"
    assert not state.exists()


def test_json_says_the_same_and_equal_seeds_say_the_same_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*QUICK, "--policy", "squall", "--json"]) == DONE
    told = capsys.readouterr().out
    found = json.loads(told)
    assert found["setup"]["seed"] == 3
    assert [row["traffic"] for row in found["rows"]] == ["timer", "rare", "steady"]
    assert found["rows"][2]["inputs"] > 100
    assert set(found["total"]) == {"squall"}
    assert run_command([*QUICK, "--policy", "squall", "--json"]) == DONE
    assert capsys.readouterr().out == told


def test_a_trace_of_ones_own_takes_the_place_of_made_up_traffic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "calls.csv"
    trace.write_text("arrival_s,duration_s\n0,0.5\n1,0.5\n", encoding="utf-8")
    assert run_command(["simulate", "--trace", str(trace), "--json", "--cold-start", "2"]) == DONE
    found = json.loads(capsys.readouterr().out)
    assert [(row["traffic"], row["inputs"]) for row in found["rows"]] == [("trace", 2), ("trace", 2)]
    assert found["rows"][0]["longest_wait_s"] == pytest.approx(2.0, abs=0.01)


def test_min_containers_are_there_before_the_first_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*QUICK, "--policy", "squall", "--min", "8", "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["total"]["squall"]["cold_per_input"] == 0


def test_the_picture_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawing = tmp_path / "waiting.svg"
    arguments = ["simulate", "--hours", "0.1", "--traffic", "timer", "--picture", str(drawing)]
    assert run_command(arguments) == DONE
    assert drawing.read_text(encoding="utf-8").startswith("<svg ")
    assert "drawn: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--traffic", "tidal"], FAILED, "there is no kind of traffic 'tidal'"),
        (["--policy", "hpa"], FAILED, "there is no policy 'hpa'"),
        (["--max", "1", "--min", "2"], FAILED, "max_containers=1"),
        (["--hours", "0"], MISUSED, "0.01"),
        (["--trace", "nowhere.csv"], MISUSED, "nowhere.csv"),
    ],
)
def test_what_makes_no_sense_is_said(
    arguments: list[str], status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["simulate", *arguments]) == status
    assert told in capsys.readouterr().err


def test_a_trace_that_is_none_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "calls.csv"
    trace.write_text("0,0.5\nsoon,1\n", encoding="utf-8")
    assert run_command(["simulate", "--trace", str(trace)]) == FAILED
    assert "line 2 of the trace" in capsys.readouterr().err
