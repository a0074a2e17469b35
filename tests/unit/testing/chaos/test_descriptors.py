"""What a process holds open more than one that has just begun is told for each kind, beside what it may."""

from squall.testing.chaos.descriptors import more


def test_a_process_that_holds_no_more_than_a_fresh_one_is_not_named() -> None:
    fresh = [{"socket": 4, "pipe": 2}, {"socket": 3, "pipe": 3}]
    assert list(more("agent", [{"socket": 4, "pipe": 3}], fresh, {})) == []


def test_each_process_is_named_that_holds_more_with_both_figures() -> None:
    worn = [{"socket": 6}, {"socket": 4}, {"socket": 5, "timer": 1}]
    assert list(more("agent", worn, [{"socket": 4}], {})) == [
        "agent: 6 of socket, where a fresh one has 4",
        "agent: 5 of socket, where a fresh one has 4",
        "agent: 1 of timer, where a fresh one has 0",
    ]


def test_ways_to_launchers_that_have_ended_since_are_no_leak() -> None:
    assert list(more("agent", [{"socket": 6}], [{"socket": 4}], {"socket": 2})) == []
    assert list(more("agent", [{"socket": 7}], [{"socket": 4}], {"socket": 2})) == [
        "agent: 7 of socket, where a fresh one has 6"
    ]
