"""Any text is a Dockerfile, or is refused by the line that says why."""

from __future__ import annotations

import json

from hypothesis import example, given, settings, strategies as st

from squall.images.dockerfile import Copy, Dockerfile, MakeDirectory, Run, image_names, parse, parse_commands
from squall.images.dockerfile.lines import KEYWORDS
from squall.images.dockerfile.words import Lexer, split_words
from squall.model.errors import ImageStepUnavailable, InvalidError

pieces = st.sampled_from(
    [
        "a",
        "b=c",
        "/x/",
        "..",
        "$A",
        "${A:-b}",
        "${",
        "}",
        "'",
        '"',
        "\\",
        "\\\n",
        "`",
        "<<E",
        "<<-'E'",
        "\nE\n",
        "\n",
        "\r\n",
        "\n\n",
        "#",
        "# escape=`\n",
        "[",
        '["a", "b"]',
        "[1]",
        "--from=s",
        "--from=0",
        "--chown=a:b",
        "--mount=x",
        "--",
        " AS s",
        "https://x/y",
        "\t",
        "\0",
        "é",
        "\u2028",
    ]
)
words = st.one_of(pieces, st.text(max_size=4))
arguments = st.lists(words, max_size=6).map(" ".join) | st.lists(words, max_size=6).map("".join)
instructions = st.tuples(st.sampled_from([*KEYWORDS, "run", "Nonsense"]), arguments).map(" ".join)
files = st.lists(instructions | arguments, max_size=12).map("\n".join)
starting = files.map(lambda body: f"FROM a AS s\n{body}")
values = st.dictionaries(st.sampled_from(["A", "B", "HTTP_PROXY"]), st.text(max_size=3), max_size=2)


def parsed(text: str | bytes, build_args: dict[str, str]) -> Dockerfile | None:
    """The Dockerfile, or None where it is refused; any other error ends the test."""
    try:
        return parse(text, build_args=build_args)
    except (InvalidError, ImageStepUnavailable) as error:
        refused = error
    assert refused.message.startswith(("line ", "the build argument "))
    assert refused.remedy != type(refused).remedy
    return None


@settings(max_examples=300)
@given(text=st.one_of(files, starting, st.text(), st.binary()), build_args=values)
@example(text="FROM a\nRUN " + "[" * 100_000, build_args={})
@example(text="FROM a\nENV A=" + "${A:-" * 5_000 + "}" * 5_000, build_args={})
@example(text="FROM a\nRUN [" + "9" * 5_000 + "]", build_args={})
@example(text='FROM a\nCMD ["\\ud800"]', build_args={})
@example(text="ARG A\nFROM --platform=$A a", build_args={"A": "/"})
def test_any_text_is_a_dockerfile_or_is_refused_by_its_line(
    text: str | bytes, build_args: dict[str, str]
) -> None:
    found = parsed(text, build_args)
    if found is None:
        return
    plain = found.to_json()
    json.dumps(plain).encode()
    assert Dockerfile.from_json(json.loads(json.dumps(plain))).to_json() == plain
    assert set(image_names(text, build_args=build_args)) <= set(found.images)


@settings(max_examples=200)
@given(text=starting, build_args=values)
def test_everything_in_a_step_is_resolved(text: str, build_args: dict[str, str]) -> None:
    found = parsed(text, build_args)
    for number, stage in enumerate(found.stages if found else ()):
        assert stage.base is None or stage.base < number
        for step in stage.steps:
            match step:
                case Run():
                    assert step.workdir.startswith("/")
                    assert bool(step.argv) != bool(step.script)
                    assert "PATH" in step.env
                case Copy():
                    assert step.dest.startswith("/")
                    assert step.sources or step.inline
                    assert step.stage is None or step.stage < number
                    assert not any(
                        source.startswith("/") or ".." in source.split("/") for source in step.sources
                    )
                case MakeDirectory():
                    assert step.path.startswith("/")
                    assert not {"", ".", ".."} & set(step.path.split("/")[1:])


@given(text=files, comment=st.text(alphabet="ab =\\`#", max_size=5))
def test_a_comment_before_the_first_line_changes_nothing_that_is_built(text: str, comment: str) -> None:
    plain = parsed(f"FROM a\n{text}", {})
    commented = parsed(f"# a comment\n#{comment}\n\nFROM a\n{text}", {})
    assert (plain and plain.to_json()) == (commented and commented.to_json())


@given(text=files)
def test_lines_after_from_are_read_as_lines_that_are_added(text: str) -> None:
    whole = parsed(f"FROM a\n{text}", {})
    try:
        added = parse_commands(f"#\n{text}")
    except (InvalidError, ImageStepUnavailable):
        added = None
    if whole is not None and len(whole.stages) == 1 and added is not None:
        assert whole.target.steps == added.target.steps


@given(value=st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_value_in_single_quotes_is_itself(value: str) -> None:
    quoted = "'" + value.replace("'", "'\\''") + "'"
    assert Lexer().expand(quoted, {"A": "x"}) == value
    assert split_words(f"A={quoted} B", "\\") == (f"A={quoted}", "B")
