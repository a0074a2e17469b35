"""Writes the pages of documentation that are made from the code; `--check` only says whether they are up to date."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

import squall  # noqa: E402 - of this clone, not of the interpreter
from scripts import reference_hostile, reference_pages  # noqa: E402 - the same
from squall.model import errors  # noqa: E402 - the same
from squall.settings import options  # noqa: E402 - the same

_MADE = "<!-- made by scripts/reference.py; edit the code instead -->\n"


def pages() -> dict[str, str]:
    """Each generated page, by its path below docs/."""
    return {
        "errors.md": errors_page(),
        "options.md": options_page(),
        "commands.md": reference_pages.commands_page(_MADE),
        "python.md": reference_pages.python_page(_MADE),
        "hosts.md": reference_pages.hosts_page(_MADE),
        "guides/security.md": reference_hostile.security_page(
            (ROOT / "docs" / "guides" / "security.md").read_text(encoding="utf-8")
        ),
    }


def error_classes() -> list[type[errors.Error]]:
    """Every error of Squall that has a code, by code."""
    for module in pkgutil.walk_packages(squall.__path__, "squall."):
        if module.name.endswith(("errors", ".errors")) or ".errors." in module.name:
            importlib.import_module(module.name)
    found = {cls for cls in _below(errors.Error) if cls.__module__.startswith("squall.")}
    return sorted({errors.Error, *found}, key=lambda cls: (cls.code, cls.__name__))


def errors_page() -> str:
    """The page that lists every code, each with a link to its own page."""
    lines = [
        "# Errors",
        "",
        _MADE,
        "Every error has a code that never changes its meaning, and a page that says why it happens and what to do.",
        "`squall explain CODE` prints that page. In Python each error holds its `code` and its `remedy`.",
        "",
        "| code | error | what is so |",
        "|---|---|---|",
    ]
    lines += [
        f"| [{cls.code}](errors/{cls.code}.md) | `{cls.__name__}` | {_told(cls)} |" for cls in error_classes()
    ]
    return "\n".join(lines) + "\n"


def options_page() -> str:
    """The page with a row for each option of a machine."""
    lines = [
        "# Options",
        "",
        _MADE,
        "What the owner of a machine may set, by the environment (`SQUALL_IDLE_S=60`) or by `config.toml` in the state",
        "directory (`idle_s = 60`); the environment wins. A value out of its bounds is an error that names the option.",
        "",
        "| option | default | least | most | meaning |",
        "|---|--:|--:|--:|---|",
    ]
    for option in options.describe():
        numbers = " | ".join(_bound(option[key]) for key in ("default", "least", "most"))
        lines.append(f"| `{option['name']}` | {numbers} | {option['means']} |")
    return "\n".join(lines) + "\n"


def _bound(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}".removesuffix(".0")


def main(arguments: list[str]) -> int:
    """0 if the pages were written, or are up to date."""
    status = 0
    for path, text in pages().items():
        target = ROOT / "docs" / path
        if target.exists() and target.read_text(encoding="utf-8") == text:
            continue
        if "--check" in arguments:
            print(f"docs/{path} is out of date: run `python3 scripts/reference.py`")
            status = 1
        else:
            target.write_text(text, encoding="utf-8")
    return status


def _below(cls: type[errors.Error]) -> Iterator[type[errors.Error]]:
    for child in cls.__subclasses__():
        yield child
        yield from _below(child)


def _told(cls: type[errors.Error]) -> str:
    return inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
