"""Each planted bug can be planted: what it changes stands in the source, once."""

from __future__ import annotations

import pytest

from squall.testing.chaos.planted import BUGS, Bug, planted


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_a_planted_bug_changes_what_stands_in_the_source_once_and_it_still_compiles(bug: Bug) -> None:
    with planted(bug) as sources:
        for file, _old, new in bug.changes:
            text = (sources / "squall" / file).read_text(encoding="utf-8")
            assert new in text
            compile(text, file, "exec")
    assert not sources.exists()


def test_there_are_ten_at_least_and_each_layer_has_one() -> None:
    assert len({bug.name for bug in BUGS}) >= 10
    assert {bug.layer for bug in BUGS} == {"crash points", "system calls", "adoption", "leaks", "storm"}
