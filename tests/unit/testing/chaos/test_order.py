"""The order of writes, forces and answers, from traces that were made by hand."""

from __future__ import annotations

from squall.testing.chaos.order import Event, events_in, judge

LOG = "/s/squall.db-wal"
CALLS = frozenset({"fc-01", "fc-02"})
WRITE = '7 1.0 pwrite64(15</s/squall.db-wal>, "..fc-01..", 4096, 0) = 4096'
FORCE = "7 1.1 fdatasync(15</s/squall.db-wal>) = 0"
TELL = r'8 1.2 sendto(18<socket:[9]>, "\1{\"call\":\"fc-01\"}", 66, 0, NULL, 0) = 66'


def found(*lines: str) -> list[Event]:
    return list(events_in(lines, log=LOG, calls=CALLS))


def test_a_write_a_force_and_an_answer_in_this_order_are_well() -> None:
    judged = judge(found(WRITE, FORCE, TELL))
    assert (judged.accepted, judged.early) == (1, ())


def test_an_answer_before_the_force_or_without_one_is_early() -> None:
    assert judge(found(WRITE, TELL, FORCE)).early == ("fc-01",)
    assert judge(found(WRITE, TELL)).early == ("fc-01",)
    assert judge(found(FORCE, TELL)).early == ("fc-01",)


def test_a_force_that_failed_and_one_of_another_file_force_nothing() -> None:
    failed = FORCE.replace("= 0", "= -1 EIO (Input/output error)")
    assert judge(found(WRITE, failed, TELL)).early == ("fc-01",)
    assert judge(found(WRITE, FORCE.replace("-wal", ""), TELL)).early == ("fc-01",)


def test_a_force_counts_at_its_end_and_an_answer_at_its_beginning() -> None:
    begun = "7 1.1 fdatasync(15</s/squall.db-wal> <unfinished ...>"
    ended = "7 1.3 <... fdatasync resumed>) = 0"
    assert judge(found(WRITE, begun, TELL, ended)).early == ("fc-01",)
    assert judge(found(WRITE, begun, ended, TELL)).early == ()
    telling = TELL.replace(", 66, 0, NULL, 0) = 66", " <unfinished ...>")
    assert judge(found(WRITE, begun, telling, ended)).early == ("fc-01",)


def test_what_is_written_after_the_force_is_not_covered_by_it() -> None:
    other = WRITE.replace("fc-01", "fc-02")
    assert judge(found(WRITE, FORCE, other, TELL, TELL.replace("fc-01", "fc-02"))).early == ("fc-02",)
