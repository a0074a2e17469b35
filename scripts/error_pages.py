"""Writes docs/errors/CODE.md for each error code, from the texts that `squall explain` prints."""

from __future__ import annotations

from pathlib import Path

from squall.model.errors import by_code
from squall.model.explanations import page

PAGES = Path(__file__).resolve().parent.parent / "docs" / "errors"


def main() -> None:
    """Write the pages that differ, and remove those of codes that are gone."""
    PAGES.mkdir(parents=True, exist_ok=True)
    wanted = {f"{code}.md": page(code) for code in by_code()}
    for name, text in wanted.items():
        (PAGES / name).write_text(text, encoding="utf-8")
    for file in PAGES.glob("SQ-*.md"):
        if file.name not in wanted:
            file.unlink()


if __name__ == "__main__":
    main()
