"""Shows the changelog of the next release, or, given a version, moves its fragments into CHANGELOG.md."""

from __future__ import annotations

import datetime as dt
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("added", "changed", "fixed", "removed", "security")
FRAGMENT = re.compile(r"[a-z0-9][a-z0-9-]*\.(" + "|".join(KINDS) + r")\.md")
_MARK = "<!-- releases -->\n"


def fragments(folder: Path) -> list[Path]:
    """The fragments in the folder, by kind and then by name.

    Raises ValueError at a file that is none, or is empty.
    """
    found = [path for path in folder.iterdir() if path.name != "README.md"]
    for path in found:
        if not FRAGMENT.fullmatch(path.name):
            raise ValueError(
                f"{path.name}: a fragment is called NAME.KIND.md, with KIND one of {', '.join(KINDS)}"
            )
        if not path.read_text(encoding="utf-8").strip():
            raise ValueError(f"{path.name}: says nothing")
    return sorted(found, key=lambda path: (KINDS.index(path.name.split(".")[1]), path.name))


def section(version: str, date: str, found: list[Path]) -> str:
    """The part of the changelog that these fragments make."""
    lines = [f"## {version} ({date})"]
    for kind in KINDS:
        texts = [path.read_text(encoding="utf-8") for path in found if path.name.split(".")[1] == kind]
        if texts:
            lines += ["", f"### {kind.capitalize()}", "", *("- " + " ".join(text.split()) for text in texts)]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """0 if the fragments could be read (and moved)."""
    try:
        found = fragments(ROOT / "changes")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    text = section(arguments[0] if arguments else "next", today, found)
    if not arguments:
        print(text, end="")
        return 0
    changelog = ROOT / "CHANGELOG.md"
    before, _, after = changelog.read_text(encoding="utf-8").partition(_MARK)
    changelog.write_text(f"{before}{_MARK}\n{text}{after}", encoding="utf-8")
    for path in found:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
