"""Calls that are fetched later: by this process or another, in time or not, cancelled, large."""

from __future__ import annotations

import time
from typing import Any

import pytest

import squall
from squall.model.errors import InputCancelled, InvalidError, NotFoundError


def test_a_spawned_call_gives_its_value_to_who_asks(verbs: Any) -> None:
    call = verbs.double.spawn(4, plus=1)
    assert (
        call.get() == call.get(timeout=0) == squall.FunctionCall.from_id(call.object_id).get(timeout=5) == 9
    )
    assert call.num_inputs() == 1


def test_a_value_that_is_not_there_in_time_is_a_timeout(verbs: Any) -> None:
    call = verbs.nap.spawn(1.0)
    with pytest.raises(TimeoutError, match="no outcome yet"):
        call.get(timeout=0)
    with pytest.raises(TimeoutError, match=r"after 0\.1 s"):
        call.get(timeout=0.1)
    assert call.get() == 1.0


def test_what_it_raised_is_raised_each_time(verbs: Any) -> None:
    call = verbs.picky.spawn(2)
    for _ in range(2):
        with pytest.raises(ValueError, match="no 2"):
            call.get()


def test_a_spawned_map_has_a_value_for_each_input(verbs: Any) -> None:
    call = verbs.double.spawn_map(range(1500))
    assert call.num_inputs() == 1500
    assert call.get(index=1499, timeout=30) == 2998
    assert list(call.iter(start=2, end=5)) == [4, 6, 8]
    with pytest.raises(InvalidError, match="none has the index 1500"):
        call.get(index=1500)


def test_another_process_fetches_it_by_its_id(verbs: Any, at_home: Any) -> None:
    call = verbs.double.spawn_map([1, 2])
    call.get()
    say = f"import squall; c = squall.FunctionCall.from_id({call.object_id!r}); print(list(c.iter()), c.num_inputs())"
    done = at_home.run("-c", say)
    assert done.stdout == "[2, 4] 2\n", done.stderr


def test_several_are_gathered_in_their_order(verbs: Any) -> None:
    calls = [verbs.nap.spawn(0.3), verbs.nap.spawn(0.0)]
    assert squall.FunctionCall.gather(*calls) == [0.3, 0.0]


def test_large_values_travel_through_the_record(verbs: Any) -> None:
    (args, kwargs) = verbs.shape.spawn(b"x" * 5_000_000, data=bytearray(3_000_000)).get(timeout=30)
    assert (args[0], kwargs["data"]) == (b"x" * 5_000_000, bytearray(3_000_000))


def test_large_inputs_of_a_spawned_map_travel_one_by_one(verbs: Any) -> None:
    inputs = [b"x" * 5_000_000, b"small", b"y" * 5_000_000]
    call = verbs.shape.spawn_map(inputs)
    assert call.num_inputs() == 3
    assert [args[0] for args, _ in call.iter()] == inputs


def test_a_cancelled_call_is_cancelled_in_the_function_and_for_who_waits(verbs: Any, capfd: Any) -> None:
    assert verbs.confesses.remote("warm", 0) == "done"
    call = verbs.confesses.spawn("cold", 30)
    time.sleep(0.3)
    call.cancel()
    with pytest.raises(InputCancelled):
        call.get(timeout=10)
    assert verbs.confesses.remote("warm", 0) == "done"
    assert "ENDED BY InputCancelled" in capfd.readouterr().out


def test_cancelling_can_take_the_container_along(verbs: Any) -> None:
    call = verbs.stubborn.spawn(60.0)
    time.sleep(0.8)
    began = time.monotonic()
    call.cancel(terminate_containers=True)
    assert verbs.stubborn.remote(0.0) == "done 0.0"
    assert time.monotonic() - began < 15


def test_no_id_and_an_unknown_id_are_told_apart(at_home: Any) -> None:
    with pytest.raises(InvalidError, match="no id of a call"):
        squall.FunctionCall.from_id("nonsense")
    unknown = squall.FunctionCall.from_id("fc-" + "0" * 32)
    with pytest.raises(NotFoundError):
        unknown.get(timeout=0)


def test_what_has_not_ended_is_cancelled_with_its_app(at_home: Any) -> None:
    app = squall.App("short-lived")

    @app.function(serialized=True)
    def sleeper() -> None:
        import time

        time.sleep(60)

    with app.run():
        call = sleeper.spawn()
    with pytest.raises(InputCancelled):
        squall.FunctionCall.from_id(call.object_id).get(timeout=20)
