"""Every code is explained: at the terminal, and on a page that says the same."""

import ast
from pathlib import Path

import pytest

from squall.model.errors import by_code
from squall.model.explanations import EXPLANATIONS, explain, page

PAGES = Path(__file__).resolve().parents[3] / "docs" / "errors"


@pytest.mark.parametrize("code", by_code())
def test_each_code_has_a_page_that_is_up_to_date(code: str) -> None:
    assert code in EXPLANATIONS, f"write why {code} happens, in squall/model/explanations"
    file = PAGES / f"{code}.md"
    assert file.is_file(), "run scripts/error_pages.py"
    assert file.read_text(encoding="utf-8") == page(code), "run scripts/error_pages.py"


def test_no_page_is_left_of_a_code_that_is_gone() -> None:
    assert {file.stem for file in PAGES.glob("SQ-*.md")} == set(by_code()) == set(EXPLANATIONS)


@pytest.mark.parametrize("spelt", ["SQ-1401", "sq-1401", "1401", " 1401 "])
def test_a_code_is_found_however_it_is_spelt(spelt: str) -> None:
    text = explain(spelt)
    assert text is not None
    assert text.startswith("SQ-1401 OutOfMemory\n")
    assert "what to do: raise the limit" in text


@pytest.mark.parametrize("wrong", ["", "SQ-", "SQ-9999", "nonsense"])
def test_what_is_no_code_has_no_text(wrong: str) -> None:
    assert explain(wrong) is None


@pytest.mark.parametrize("code", EXPLANATIONS)
def test_each_explanation_says_enough(code: str) -> None:
    explanation = EXPLANATIONS[code]
    assert len(explanation.why.split()) >= 10
    assert explanation.example


def test_explaining_needs_no_file_beside_the_package() -> None:
    for file in (Path(__file__).resolve().parents[3] / "src/squall/model/explanations").glob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
        assert "open" not in names
