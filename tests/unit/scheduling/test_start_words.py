"""What is told of a start: the rung, why, and how long each phase took."""

from __future__ import annotations

from hypothesis import given, strategies as st

from squall.scheduling.start_words import StartSeen, duration, start_in_words

PARKED = {"forked": 2.0, "cgroup": 5.0, "network": 8.0, "built": 10.0, "running": 30.0}


def test_code_that_loads_for_long_is_told_with_all_that_came_before_it() -> None:
    seen = StartSeen(
        rung="parked",
        why="a warm interpreter",
        waited_ms={"image": 100.0, "launcher": 3.0, "template": 0.1},
        phases_ms=PARKED,
        took_s=30.0,
        running_s=29.85,
        loading_s=29.8,
    )
    assert start_in_words(seen) == (
        "it was started as 'parked' (a warm interpreter): image 0.1 s, launcher 3 ms, sandbox 7 ms, network 3 ms, "
        "runner 70 ms, then 29.8 s in your code's imports and it has not said that it is ready"
    )


def test_a_slow_start_that_is_over_is_not_told_as_one_that_is_not() -> None:
    seen = StartSeen(rung="parked", why="x", phases_ms={"running": 30.0}, running_s=12.0, loading_s=12.0)
    assert start_in_words(seen, ready=True) == (
        "it was started as 'parked' (x): runner 30 ms, then 12.0 s in your code's imports"
    )


def test_a_fork_of_a_template_has_nothing_to_import() -> None:
    seen = StartSeen(rung="pooled", why="x", phases_ms={"running": 4.0}, running_s=2.0, loading_s=2.0)
    assert "2.0 s in your code's hooks after the fork and it" in start_in_words(seen)


def test_what_it_waits_for_on_its_machine_is_told() -> None:
    seen = StartSeen(waited_ms={"image": 100.0, "template": 12.0}, waits_for="template", took_s=30.0)
    assert start_in_words(seen) == "image 0.1 s, then 29.9 s waiting for its template"


def test_a_runner_that_says_nothing_is_told() -> None:
    seen = StartSeen(rung="exec", why="x", phases_ms={"running": 20.0}, took_s=9.0, running_s=8.9)
    assert start_in_words(seen).endswith("runner 20 ms, then 8.9 s without a word from its runner")


def test_a_machine_that_says_nothing_is_told() -> None:
    assert start_in_words(StartSeen(took_s=5.0)) == "5.0 s in which its machine has said nothing of it"


def test_durations_are_as_long_as_one_reads_them() -> None:
    assert [duration(s) for s in (-1.0, 0.0, 0.0123, 0.1, 29.84, 100.0, 250.4)] == [
        "0 ms",
        "0 ms",
        "12 ms",
        "0.1 s",
        "29.8 s",
        "100 s",
        "250 s",
    ]


marks = st.dictionaries(st.sampled_from([*PARKED, "sandbox", "something new"]), st.floats(0, 1e7), max_size=7)


@given(
    waited=marks,
    waits_for=st.sampled_from(["", "image", "something else"]),
    phases=marks,
    took_s=st.floats(0, 1e6),
    since=st.tuples(st.none() | st.floats(0, 1e6), st.none() | st.floats(0, 1e6)),
)
def test_whatever_is_known_of_a_start_there_is_one_line_of_it(
    waited: dict[str, float],
    waits_for: str,
    phases: dict[str, float],
    took_s: float,
    since: tuple[float | None, float | None],
) -> None:
    seen = StartSeen(
        rung="parked",
        why="so",
        waited_ms=waited,
        waits_for=waits_for,
        phases_ms=phases,
        took_s=took_s,
        running_s=since[0],
        loading_s=since[1],
    )
    told = start_in_words(seen)
    assert told.startswith("it was started as 'parked' (so): ")
    assert "\n" not in told
    assert "-" not in told
