"""The corpus finds a verdict that was too kind, and its page is what its evidence says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import corpus_page
import corpus_work
from corpus_packages import PACKAGES
from corpus_page import Row, Trial

ROOT = Path(__file__).resolve().parents[3]
EVIDENCE = ROOT / "docs" / "evidence" / "corpus.json"


def row(**found: object) -> Row:
    first = Trial.from_json({"used": False, "canary": ["healthy", ""], "forks": 10, **found})
    return Row(package="one", trials=(first, Trial(used=True)))


@pytest.mark.parametrize("bad", [{"hangs": 1}, {"crashes": 1}, {"wrong": 1}, {"canary": ["hung", ""]}])
def test_a_template_judged_safe_whose_children_fail_fails_the_run(bad: dict[str, object]) -> None:
    assert corpus_page.false_verdicts([row(safe=True, **bad)]) == ["one (imported)"]
    assert corpus_page.false_verdicts([row(safe=False, **bad)]) == []


def test_one_of_which_nothing_is_known_fails_the_run() -> None:
    assert corpus_page.false_verdicts([row(error="ended with 1")]) == ["one (imported)"]


def test_a_package_that_cannot_be_installed_is_told_with_its_reason() -> None:
    text = corpus_page.page({"rows": [{"package": "one", "version": "", "absent": "no wheel", "trials": []}]})
    assert "- one: no wheel" in text


def test_every_package_has_its_work() -> None:
    assert {package.work for package in PACKAGES} == set(corpus_work.WORK)
    assert len({package.name for package in PACKAGES}) == len(PACKAGES) >= 25


def test_the_page_is_made_of_the_evidence_and_no_verdict_in_it_is_false() -> None:
    kept = json.loads(EVIDENCE.read_text(encoding="utf-8"))
    assert (ROOT / "docs" / "templates-corpus.md").read_text(encoding="utf-8") == corpus_page.page(kept)
    rows = [Row.from_json(one) for one in kept["rows"]]
    assert not corpus_page.false_verdicts(rows)
    assert {one.package for one in rows} == {package.name for package in PACKAGES}
