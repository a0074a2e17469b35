"""Every error has a code of its own, says what to do, and has a page in the documentation."""

from __future__ import annotations

import re

from scripts import reference
from tests.tidy import house


def test_every_code_is_of_the_form_and_belongs_to_one_class() -> None:
    codes = [cls.code for cls in reference.error_classes()]
    assert all(re.fullmatch(r"SQ-\d{4}", code) for code in codes)
    shared = sorted({code for code in codes if codes.count(code) > 1})
    assert not shared


def test_every_error_says_what_to_do() -> None:
    silent = [cls.__name__ for cls in reference.error_classes() if len(cls.remedy.split()) < 2]
    assert not silent


def test_every_error_has_its_page() -> None:
    pages = house.ROOT / "docs" / "errors"
    assert {f"{cls.code}.md" for cls in reference.error_classes()} == {
        path.name for path in pages.glob("*.md")
    }


def test_every_error_that_the_code_names_exists() -> None:
    known = {cls.code for cls in reference.error_classes()}
    named = {
        code
        for path in [*house.python_files("src"), *(house.ROOT / "docs").rglob("*.md")]
        for code in re.findall(r"SQ-\d{4}", path.read_text(encoding="utf-8"))
    }
    # SQ-1234 is the example; 00 and 99 are the ends of ranges.
    assert {code for code in named - known if not code.endswith(("00", "99"))} <= {"SQ-1234"}
