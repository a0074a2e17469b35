"""The judge of what attempts met: it finds an escape, a control that proves nothing, and an attempt that was none."""

from __future__ import annotations

import re

from scripts import reference
from squall.sdk.watch import describe_note
from tests.linux.hostile.catalogue import CATALOGUE, ELSEWHERE, NOT_TRIED
from tests.linux.hostile.judge import escapes, lacking, reached, repeated, unproven
from tests.linux.hostile.probe import NotStopped, Probe, Stopped

ONE = Probe(
    id="E00",
    title="do what must not be",
    code="no.such",
    refused={"everyday *": "done", "read *": "EPERM|ENOENT", "*": "EPERM"},
    build={"count": "3"},
    may_lack=("read rare",),
    unproven={"odd": "nobody can"},
    process=Stopped(),
)


def test_what_meets_its_refusal_is_no_escape_and_anything_else_is() -> None:
    assert not escapes(ONE, {"everyday one": "done", "read a": "ENOENT", "b": "EPERM"})
    assert escapes(ONE, {"b": "ENOENT"}) == ["b: ENOENT, not EPERM"]
    assert escapes(ONE, {"read a": "done"}) == ["read a: done, not EPERM|ENOENT"]


def test_an_attempt_that_broke_or_could_not_even_do_the_everyday_is_no_refusal() -> None:
    assert escapes(ONE, {"broken": "NameError: x"})
    assert escapes(ONE, {"everyday one": "EPERM"})
    assert unproven(ONE, {"broken": "NameError: x"})


def test_a_build_has_its_own_expectations_where_they_are_given() -> None:
    assert not escapes(ONE, {"count": "3"}, place="build")
    assert escapes(ONE, {"count": "3"})
    assert escapes(ONE, {"b": "done"}, place="build")
    assert escapes(ONE, {"count": "3"}, place="loading")


def test_a_control_that_is_refused_too_proves_nothing_unless_it_is_said_why() -> None:
    assert not unproven(ONE, {"read a": "done", "b": "EINVAL", "odd": "EPERM", "read rare": "ENOENT"})
    assert unproven(ONE, {"read a": "ENOENT", "b": "done"}) == ["read a: ENOENT without a sandbox too"]
    assert unproven(ONE, {"odd": "EPERM"}) == ["no attempt of it ever got anywhere"]
    assert lacking(ONE, {"read rare": "ENOENT", "b": "done"}) == ["read rare"]
    assert reached(ONE, {"b": "done", "odd": "EPERM", "everyday one": "done"}) == ["b"]


def test_what_two_draw_alike_is_found() -> None:
    assert repeated({"a": "1", "b": "2"}, {"a": "1", "b": "3"}) == ["a: 1 twice"]


def test_each_row_of_the_threat_model_that_containers_must_meet_is_in_the_catalogue() -> None:
    wanted = {f"E{number:02}" for number in (*range(1, 21), *range(63, 71))}
    told = " ".join(row.id for row in (*CATALOGUE, *ELSEWHERE, *NOT_TRIED))
    assert wanted <= set(re.findall(r"E\d\d", told))


def test_each_code_is_there_once() -> None:
    codes = [probe.code for probe in CATALOGUE]
    assert len(set(codes)) == len(codes)


def test_what_level_process_does_not_stop_is_what_a_run_there_says() -> None:
    said = {probe.process.says for probe in CATALOGUE if isinstance(probe.process, NotStopped)}
    assert said
    assert all(words in describe_note("process") for words in said)


def test_the_page_of_what_is_tried_is_the_catalogue() -> None:
    page = (reference.ROOT / "docs" / "guides" / "security.md").read_text(encoding="utf-8")
    assert page == reference.pages()["guides/security.md"]
