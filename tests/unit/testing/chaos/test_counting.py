"""What counts as lost, doubled, stuck or run again, from accounts that were made by hand."""

from __future__ import annotations

from dataclasses import replace

from squall.testing.chaos.counting import Account, Answer, Failed, count


def answer(key: str, run: str = "r1", via: str = "map", *, right: bool = True) -> Answer:
    return Answer(key=key, run=run, via=via, at_s=1.0, right=right)


WELL = Account(
    accepted=frozenset({"c/map/0", "c/map/1"}),
    answers=(answer("c/map/0"), answer("c/map/1", "r2")),
    runs=frozenset({("c/map/0", "r1"), ("c/map/1", "r2")}),
)


def test_what_went_well_counts_as_nothing_but_accepted() -> None:
    counts = count(WELL)
    assert (counts.accepted, counts.lost, counts.doubled, counts.again, counts.stuck) == (2, 0, 0, 0, 0)
    assert not counts.broken


def test_an_accepted_input_without_an_answer_is_lost_once_the_client_has_ended_and_stuck_before() -> None:
    missing = replace(WELL, answers=WELL.answers[:1])
    assert (count(missing).lost, count(missing).stuck) == (1, 0)
    unended = replace(missing, ended=False)
    assert (count(unended).lost, count(unended).stuck) == (0, 1)


def test_two_results_of_two_runs_are_doubled_and_the_same_result_asked_for_again_is_not() -> None:
    again = replace(WELL, answers=(*WELL.answers, answer("c/map/0", "r1", "fetched")))
    assert count(again).doubled == 0
    other = replace(WELL, answers=(*WELL.answers, answer("c/map/0", "r9", "fetched")))
    assert count(other).doubled == 1


def test_a_result_that_one_request_gave_twice_is_doubled() -> None:
    assert count(replace(WELL, answers=(*WELL.answers, answer("c/map/0")))).doubled == 1


def test_a_result_beside_a_failure_is_doubled() -> None:
    both = replace(WELL, failed=(Failed(key="c/map/0", code="InputLost"),))
    assert count(both).doubled == 1


def test_an_input_that_ran_twice_was_run_again_and_its_answer_is_evidence_of_a_run_too() -> None:
    assert count(replace(WELL, runs=WELL.runs | {("c/map/0", "r7")})).again == 1
    assert count(replace(WELL, runs=frozenset({("c/map/0", "r7")}))).again == 1


def test_a_generator_may_end_with_an_input_lost_and_a_map_may_not() -> None:
    lost = Failed(key="c/gen/0", code="InputLost")
    account = Account(accepted=frozenset({"c/gen/0"}), failed=(lost,))
    assert not count(account).broken
    assert count(account).named == 1
    assert count(replace(account, failed=(replace(lost, key="c/map/0"),))).broken


def test_a_wrong_result_and_one_that_nobody_asked_for_are_broken() -> None:
    assert count(replace(WELL, answers=(answer("c/map/0", right=False), WELL.answers[1]))).broken
    assert count(replace(WELL, answers=(*WELL.answers, answer("c/map/9")))).broken
