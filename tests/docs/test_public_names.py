"""Every public name says what it gives, and the guides speak of it."""

from __future__ import annotations

import inspect
import re

import click

import squall
from scripts import reference_pages
from squall.cli.main import squall as program
from tests.docs import pages

GUIDES = "\n".join(
    page.read_text(encoding="utf-8")
    for page in [pages.ROOT / "docs" / "index.md", *(pages.ROOT / "docs" / "guides").glob("*.md")]
)
NAMES = reference_pages.public()


def test_every_public_name_has_a_sentence() -> None:
    silent = [name for name, what in NAMES if not re.match(r"\S.*[.:`)]", inspect.getdoc(what) or "")]
    assert not silent


def test_the_guides_speak_of_every_public_name() -> None:
    missing = [name for name, what in NAMES if not re.search(rf"\b{name.rpartition('.')[2]}\b", GUIDES)]
    assert not missing


def test_the_guides_name_every_option_of_a_function() -> None:
    options = [
        name for name in inspect.signature(squall.App.function).parameters if name not in {"self", "later"}
    ]
    assert not [name for name in options if name not in GUIDES]
    assert not [name for name in options if name not in (inspect.getdoc(squall.App.function) or "")]


def test_the_guides_show_every_command() -> None:
    context = click.Context(program)
    for name in program.list_commands(context):
        assert f"squall {name}" in GUIDES, name
