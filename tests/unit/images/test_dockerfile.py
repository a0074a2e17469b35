"""A Dockerfile is read as Docker's reference says; what is not done is refused by its line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from squall.images.dockerfile import (
    Copy,
    Dockerfile,
    ImageConfig,
    InlineFile,
    MakeDirectory,
    Run,
    Stage,
    image_names,
    parse,
    parse_commands,
    step_from_json,
)
from squall.images.dockerfile.nouns import DEFAULT_PATH, DEFAULT_SHELL
from squall.model.errors import InvalidError

PATH = {"PATH": DEFAULT_PATH}


def target(text: str, **options: Any) -> Stage:
    return parse(f"FROM busybox\n{text}", **options).target


def ran(text: str, **options: Any) -> list[tuple[str, ...]]:
    return [step.argv for step in target(text, **options).steps if isinstance(step, Run)]


def copied(text: str, **options: Any) -> list[Copy]:
    """The copies, without their lines."""
    steps = target(text, **options).steps
    return [replace(step, line=0) for step in steps if isinstance(step, Copy)]


def env(text: str, **options: Any) -> dict[str, str]:
    held = target(text, **options).config.env
    return {name: value for name, value in held.items() if name != "PATH"}


def sh(command: str) -> tuple[str, ...]:
    return (*DEFAULT_SHELL, command)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("RUN echo hello", [sh("echo hello")]),
        ("run echo hello", [sh("echo hello")]),
        ("   Run echo hello  ", [sh("echo hello")]),
        ("RUN echo 'some # of cool things'", [sh("echo 'some # of cool things'")]),
        ("RUN echo hello \\\n# comment\nworld", [sh("echo hello world")]),
        ("RUN echo hello \\\n  # comment\n  world", [sh("echo hello   world")]),
        ('RUN echo "\\\n     hello\\\n     world"', [sh('echo "     hello     world"')]),
        ("RUN a \\  \n b", [sh("a  b")]),
        ("RUN a \\\n\n b", [sh("a  b")]),
        ("RUN a\r\nRUN b \\\r\n c\r\n", [sh("a"), sh("b  c")]),
        ("RUN a \\", [sh("a")]),
        ('RUN ["/bin/bash", "-c", "echo hello"]', [("/bin/bash", "-c", "echo hello")]),
        ('RUN [ "a" , "$X" ]  ', [("a", "$X")]),
        ("RUN ['a', 'b']", [sh("['a', 'b']")]),
        ("RUN [ -f x ] && y", [sh("[ -f x ] && y")]),
        ("ENV X=1\nRUN echo $X ${X:-2} \\$X", [sh("echo $X ${X:-2} \\$X")]),
        ('SHELL ["powershell", "-command"]\nRUN a b', [("powershell", "-command", "a b")]),
        ('SHELL ["powershell", "-command"]\nRUN ["a"]', [("a",)]),
        ("RUN -- --x", [sh("--x")]),
        ("RUN <<EOF\na\nb\nEOF\nRUN c", [sh("a\nb\n"), sh("c")]),
        ("RUN <<-EOF\n\t\ta\n\tb\n\tEOF", [sh("a\nb\n")]),
        ("RUN <<'EOF'\n$X\nEOF", [sh("$X\n")]),
        ("RUN << EOF\n# kept\na \\\nEOF", [sh("# kept\na \\\n")]),
        ("RUN <<eo'f'\na\neof", [sh("a\n")]),
        ("RUN <<eo\\'f\na\neo'f", [sh("a\n")]),
        ("RUN <<'one two'\na\none two", [sh("a\n")]),
        ("RUN <<$EOF\na\n$EOF", [sh("a\n")]),
        ("RUN python3 <<EOF\nprint(1)\nEOF", [sh("python3 <<EOF\nprint(1)\nEOF")]),
        ("RUN <<A cat - <<B\na\nA\nb\nB", [sh("<<A cat - <<B\na\nA\nb\nB")]),
        ('RUN ["<<EOF"]', [("<<EOF",)]),
        ('RUN "<<EOF"', [sh('"<<EOF"')]),
        ("RUN cat <<<EOF", [sh("cat <<<EOF")]),
        ("RUN echo $((1<<2))", [sh("echo $((1<<2))")]),
        ("RUN it's", [sh("it's")]),
        ("RUN echo '<<EOF", [sh("echo '<<EOF")]),
        ("RUN <<EOF\r\na\r\nEOF\r\n", [sh("a\n")]),
    ],
)
def test_a_command_is_what_docker_runs(text: str, commands: list[tuple[str, ...]]) -> None:
    assert ran(text) == commands


def test_a_text_with_its_own_interpreter_is_run_as_a_script() -> None:
    (step,) = target("RUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF").steps
    assert step == Run(script="#!/usr/bin/env python3\nprint(1)\n", env=PATH, line=2)


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ('ENV A="John Doe"', {"A": "John Doe"}),
        ("ENV A=Rex\\ The\\ Dog", {"A": "Rex The Dog"}),
        (
            'ENV A="John Doe" B=Rex\\ The\\ Dog \\\n C=fluffy',
            {"A": "John Doe", "B": "Rex The Dog", "C": "fluffy"},
        ),
        ("ENV A John Doe", {"A": "John Doe"}),
        ("ENV ONE TWO= THREE=world", {"ONE": "TWO= THREE=world"}),
        ("ENV A 'x y' z", {"A": "x y z"}),
        ("ENV A= B=''", {"A": "", "B": ""}),
        ("ENV A=b=c", {"A": "b=c"}),
        ("ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc", {"abc": "bye", "def": "hello", "ghi": "bye"}),
        ("ENV A=1 B='$A' C=\"$A\"", {"A": "1", "B": "$A", "C": ""}),
        (
            "ENV A=1\nENV B='$A' C=\"$A\" D=\\$A E=\\${A}",
            {"A": "1", "B": "$A", "C": "1", "D": "$A", "E": "${A}"},
        ),
        ('ENV A="a\\"b\\n"', {"A": 'a"b\\n'}),
        ("ENV A=a\\nb", {"A": "anb"}),
        (
            "ENV X=x\nENV A=${X:-d} B=${Y:-d} C=${X:+d} D=${Y:+d}",
            {"X": "x", "A": "x", "B": "d", "C": "d", "D": ""},
        ),
        (
            "ENV X=\nENV A=${X:-d} B=${X-d} C=${X:+d} D=${X+d}",
            {"X": "", "A": "d", "B": "", "C": "", "D": "d"},
        ),
        (
            "ENV X=1\nENV A=${Y:-a${X}b} B=${X}_c C=$X_c D=$X-c",
            {"X": "1", "A": "a1b", "B": "1_c", "C": "", "D": "1-c"},
        ),
        ("ENV A=$ B=a$", {"A": "$", "B": "a$"}),
        ("ENV A=${Y:-\\}}", {"A": "}"}),
        ("ENV A=x\nENV ${A}_B=c", {"A": "x", "x_B": "c"}),
        ("ENV X=1\nENV A=${X:?no}", {"X": "1", "A": "1"}),
    ],
)
def test_variables_have_the_values_that_docker_gives_them(text: str, variables: dict[str, str]) -> None:
    assert env(text) == variables


@pytest.mark.parametrize(
    ("head", "text", "variables"),
    [
        ("# escape=`\n", "ENV A=a` b B=c:\\d", {"A": "a b", "B": "c:\\d"}),
        ("#\teScApE = `  \n\n", "ENV A=1 `\n B=2", {"A": "1", "B": "2"}),
        ("# syntax=docker/dockerfile:1\n# escape=`\n", "ENV A=` ", {"A": ""}),
        ("# check=skip=all\n# escape=`\n", "ENV A=\\", {"A": "\\"}),
        ("# a comment\n# escape=`\n", "ENV A=`", {"A": "`"}),
        ("# unknown=value\n# escape=`\n", "ENV A=`", {"A": "`"}),
        ("\n# escape=`\n", "ENV A=`", {"A": "`"}),
        ("\ufeff# escape=`\r\n", "ENV A=\\", {"A": "\\"}),
    ],
)
def test_directives_count_only_before_everything_else(
    head: str, text: str, variables: dict[str, str]
) -> None:
    found = parse(f"{head}FROM busybox\n{text}\n".encode()).target.config.env
    assert found == {**PATH, **variables}


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("COPY a /b", Copy(sources=("a",), dest="/b")),
        ("COPY . .", Copy(sources=(".",), dest="/")),
        ("WORKDIR /w\nCOPY . .", Copy(sources=(".",), dest="/w/")),
        ("WORKDIR /w\nCOPY test.txt relative/", Copy(sources=("test.txt",), dest="/w/relative/")),
        ("COPY ../something /something", Copy(sources=("something",), dest="/something")),
        ("COPY /a/./b/../c/ /x/../y", Copy(sources=("a/c",), dest="/y")),
        ("COPY a b*.py /c/", Copy(sources=("a", "b*.py"), dest="/c/")),
        ("COPY arr[[]0].txt /d/", Copy(sources=("arr[[]0].txt",), dest="/d/")),
        ('COPY ["a b", "/c d/"]', Copy(sources=("a b",), dest="/c d/")),
        ("ENV FOO=/bar\nADD . $FOO", Copy(sources=(".",), dest="/bar", unpack=True)),
        (
            "ENV V=2\nADD https://example.org/x-$V.tgz?a=b c /d/",
            Copy(sources=("c",), addresses=("https://example.org/x-2.tgz?a=b",), dest="/d/", unpack=True),
        ),
        (
            f"ARG SUM={'a' * 64}\nADD --checksum=sha256:$SUM --chmod=644 http://x/y /d",
            Copy(addresses=("http://x/y",), checksum="a" * 64, dest="/d", unpack=True, chmod="644"),
        ),
        ("ENV FOO=/bar\nCOPY \\$FOO /quux", Copy(sources=("$FOO",), dest="/quux")),
        ("COPY --chown=55:mygroup files* /d/", Copy(sources=("files*",), dest="/d/", chown="55:mygroup")),
        (
            "ENV U=u\nCOPY --chown=$U --chmod=755 a /d",
            Copy(sources=("a",), dest="/d", chown="u", chmod="755"),
        ),
        ("COPY --link=false a /d", Copy(sources=("a",), dest="/d")),
        ("COPY --from=nginx:latest /etc/x /x", Copy(sources=("etc/x",), dest="/x", image="nginx:latest")),
        ("COPY <<EOF /f\nhi\nEOF", Copy(inline=(InlineFile(name="EOF", text="hi\n"),), dest="/f")),
        (
            "ENV X=1\nCOPY <<A <<'B' c /d/\n\"$X\" \\$X \\\\\nA\n$X \\\\\nB",
            Copy(
                sources=("c",),
                inline=(InlineFile(name="A", text='"1" $X \\\n'), InlineFile(name="B", text="$X \\\\\n")),
                dest="/d/",
            ),
        ),
        ("COPY <<-EOF /f\n\t\thi\n\tEOF", Copy(inline=(InlineFile(name="EOF", text="hi\n"),), dest="/f")),
        (
            "COPY <<X <<Y /d/\nY\nX\nX\nY",
            Copy(inline=(InlineFile(name="X", text="Y\n"), InlineFile(name="Y", text="X\n")), dest="/d/"),
        ),
    ],
)
def test_files_go_where_docker_puts_them(text: str, copy: Copy) -> None:
    assert copied(text) == [copy]


def test_relative_directories_are_resolved_and_made() -> None:
    stage = target(
        "ENV DIRPATH=/path\nWORKDIR /a\nWORKDIR b\nWORKDIR c\nRUN pwd\nUSER me\nWORKDIR $DIRPATH/$DIRNAME"
    )
    assert stage.steps == (
        MakeDirectory(path="/a", line=3),
        MakeDirectory(path="/a/b", line=4),
        MakeDirectory(path="/a/b/c", line=5),
        Run(argv=sh("pwd"), env={**PATH, "DIRPATH": "/path"}, workdir="/a/b/c", line=6),
        MakeDirectory(path="/path", user="me", line=8),
    )
    assert stage.config.workdir == "/path"


def test_a_command_holds_all_that_it_runs_under() -> None:
    stage = target(
        'ARG A=1\nENV B=2\nUSER ada:wheel\nWORKDIR /w\nSHELL ["sh"]\nRUN x\nENV B=3\nUSER 0\nRUN y'
    )
    first, second = (step for step in stage.steps if isinstance(step, Run))
    assert first.env == {**PATH, "A": "1", "B": "2"}
    assert (first.user, first.workdir, first.argv) == ("ada:wheel", "/w", ("sh", "x"))
    assert (second.env["B"], second.user) == ("3", "0")


@pytest.mark.parametrize(
    ("text", "build_args", "commands"),
    [
        ("ARG V=1\nFROM a:$V", {}, "a:1"),
        ("ARG V=1\nFROM a:${V}", {"V": "2"}, "a:2"),
        ("ARG V\nFROM a:${V:-latest}", {}, "a:latest"),
        ("ARG V=1 W=$V\nFROM a:$W", {}, "a:1"),
        ("FROM --platform=$BUILDPLATFORM a:$TARGETARCH", {}, "a:amd64"),
        ("FROM --platform=linux/x86_64 a", {}, "a"),
        ("from a as B", {}, "a"),
    ],
)
def test_the_base_is_named_with_the_arguments_before_it(
    text: str, build_args: dict[str, str], commands: str
) -> None:
    assert parse(text, build_args=build_args).target.image == commands


@pytest.mark.parametrize(
    ("text", "build_args", "variables"),
    [
        ("ARG A\nENV B=$A", {}, {"B": ""}),
        ("ARG A=d\nENV B=$A", {}, {"B": "d"}),
        ("ARG A=d\nENV B=$A", {"A": "given"}, {"B": "given"}),
        ("ARG A='x y' C\nENV B=$A", {"C": "1"}, {"B": "x y"}),
        ("ENV B=${A:-before}\nARG A=d", {"A": "given"}, {"B": "before"}),
        ("ARG A=1\nENV A=2\nENV B=$A", {"A": "3"}, {"A": "2", "B": "2"}),
        ("ARG A=1\nENV A=${A:-0}", {}, {"A": "1"}),
        ("ENV B=$OUTER", {}, {"B": ""}),
        ("ARG OUTER\nENV B=$OUTER", {}, {"B": "outer"}),
        ("ARG OUTER=in\nENV B=$OUTER", {}, {"B": "in"}),
        ("ENV B=$TARGETARCH", {}, {"B": ""}),
        ("ARG TARGETARCH TARGETVARIANT\nENV B=$TARGETARCH C=$TARGETVARIANT", {}, {"B": "amd64", "C": ""}),
        ("ENV B=$HTTP_PROXY", {"HTTP_PROXY": "p"}, {"B": ""}),
        ("ARG HTTP_PROXY\nENV B=$HTTP_PROXY", {"HTTP_PROXY": "p"}, {"B": "p"}),
    ],
)
def test_build_arguments_hold_from_their_line_on(
    text: str, build_args: dict[str, str], variables: dict[str, str]
) -> None:
    found = parse(f"ARG OUTER=outer\nFROM busybox\n{text}", build_args=build_args).target.config.env
    assert found == {**PATH, **variables}


def test_proxies_are_known_to_commands_and_are_no_part_of_what_is_built() -> None:
    plain, proxied = parse("FROM a\nRUN x"), parse("FROM a\nRUN x", build_args={"http_proxy": "p"})
    assert proxied.proxies == {"http_proxy": "p"}
    assert proxied.to_json() == plain.to_json()


def test_what_an_image_says_is_kept() -> None:
    config = target(
        'ENTRYPOINT ["top", "-b"]\nCMD -c\nLABEL a="b c" "d.e"=f\nEXPOSE 80/tcp 80 80\nVOLUME /a /b\nVOLUME ["/c d"]\n'
        "STOPSIGNAL SIGKILL\nUSER x"
    ).config
    assert config == ImageConfig(
        env=PATH,
        entrypoint=("top", "-b"),
        cmd=sh("-c"),
        labels={"a": "b c", "d.e": "f"},
        ports=("80/tcp", "80"),
        volumes=("/a", "/b", "/c d"),
        stop_signal="SIGKILL",
        user="x",
    )


@pytest.mark.parametrize(
    ("text", "entrypoint", "cmd"),
    [
        ("", ("e",), ("c",)),
        ("CMD []", ("e",), ()),
        ('ENTRYPOINT ["f"]', ("f",), None),
        ("ENTRYPOINT []", (), None),
        ('CMD ["d"]\nENTRYPOINT ["f"]', ("f",), ("d",)),
        ("ENTRYPOINT exec top -b", sh("exec top -b"), None),
        ("CMD a\nCMD b", ("e",), sh("b")),
    ],
)
def test_an_entrypoint_takes_away_the_arguments_of_the_one_before(
    text: str, entrypoint: tuple[str, ...], cmd: tuple[str, ...] | None
) -> None:
    below = {"busybox": ImageConfig(entrypoint=("e",), cmd=("c",))}
    config = target(text, images=below).config
    assert (config.entrypoint, config.cmd) == (entrypoint, cmd)


def test_what_the_base_says_holds_in_the_stage() -> None:
    below = ImageConfig(env={"PATH": "/opt/bin", "H": "/h"}, workdir="/w", user="u", shell=("bash", "-c"))
    (step,) = target("ENV PATH=$H:$PATH\nRUN x", images={"busybox": below}).steps
    assert step == Run(
        argv=("bash", "-c", "x"), env={"PATH": "/h:/opt/bin", "H": "/h"}, workdir="/w", user="u", line=3
    )


STAGES = """
FROM golang:1 AS build
ARG A=1
WORKDIR /src
RUN make
FROM node AS unneeded
RUN --mount=type=cache,target=/x npm
FROM build AS Tested
RUN test $A
FROM tools
FROM scratch
COPY --from=tested /a /a
COPY --from=3 /b /b
COPY --from=0 /c /c
COPY --from=elsewhere /d /d
"""


def test_only_the_stages_that_the_last_one_needs_are_kept() -> None:
    found = parse(STAGES)
    assert [(stage.name, stage.image, stage.base) for stage in found.stages] == [
        ("build", "golang:1", None),
        ("tested", "", 0),
        ("", "tools", None),
        ("", "scratch", None),
    ]
    copies = [(step.stage, step.image) for step in found.target.steps if isinstance(step, Copy)]
    assert copies == [(1, ""), (2, ""), (0, ""), (None, "elsewhere")]
    assert found.images == ("golang:1", "tools", "elsewhere")
    assert image_names(STAGES) == ("golang:1", "tools")


def test_a_stage_goes_on_from_the_one_that_it_stands_on() -> None:
    test = parse(STAGES).stages[1].steps[0]
    assert test == Run(argv=sh("test $A"), env={**PATH, "A": "1"}, workdir="/src", line=9)


def test_a_stage_may_have_the_name_of_its_image() -> None:
    found = parse("FROM alpine AS alpine\nFROM alpine")
    assert (found.target.base, found.stages[0].image) == (0, "alpine")


def test_lines_can_be_added_to_an_image() -> None:
    found = parse_commands("RUN a\nENV X=$Y", image=ImageConfig(env={"Y": "y"}, workdir="/w"))
    assert found.stages == (
        Stage(
            steps=(Run(argv=sh("a"), env={**PATH, "Y": "y"}, workdir="/w", line=1),),
            config=ImageConfig(env={**PATH, "Y": "y", "X": "y"}, workdir="/w"),
        ),
    )
    with pytest.raises(InvalidError, match=r"line 1 .*FROM x"):
        parse_commands("FROM x")
    with pytest.raises(InvalidError, match="no stage 0 above"):
        parse_commands("COPY --from=0 a b")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("RUN a \\\n\n b", "line 2: an empty line within a continued instruction"),
        ("RUN ['a']", "line 2: what is written as a list is given to the shell"),
        ("HEALTHCHECK --interval=5m CMD curl x", "line 2: HEALTHCHECK is left out"),
        ("HEALTHCHECK NONE", "line 2: HEALTHCHECK is left out"),
        ("MAINTAINER ada@example.org", "line 2: MAINTAINER is left out"),
        ("ONBUILD RUN <<EOF\nx\nEOF", "line 2: ONBUILD is left out"),
        ("VOLUME /x", "line 2: VOLUME mounts nothing"),
        ("WORKDIR $X", "line 2: WORKDIR comes to nothing"),
        ("ARG A", "the build argument B is not used"),
    ],
)
def test_the_user_is_told_of_what_has_no_effect(text: str, note: str) -> None:
    (said,) = parse(f"FROM busybox\n{text}", build_args={"B": "1"} if text == "ARG A" else {}).notes
    assert said.startswith(note)


def test_a_stage_that_is_not_needed_may_use_what_is_not_done() -> None:
    assert parse("FROM a\nRUN --mount=type=ssh x\nFROM b").images == ("b",)


def test_comments_and_names_change_nothing_in_the_plain_form() -> None:
    one = parse("FROM a AS x\nRUN b\nFROM x\nCOPY --from=x c d")
    two = parse("# note\nFROM unneeded\nFROM a AS y\n\nRUN  b\nFROM y\n#\nCOPY --from=y c d")
    assert one.to_json() == two.to_json()
    assert one.to_json() == Dockerfile.from_json(one.to_json()).to_json()


def test_data_that_is_no_dockerfile_is_refused() -> None:
    no_stages: list[dict[str, Any]] = [
        {},
        {"stages": []},
        {"stages": [1]},
        {"stages": [{"steps": 1}]},
        {"stages": [{"x": 1}]},
    ]
    for plain in no_stages:
        with pytest.raises(ValueError, match=r"(?i)stage"):
            Dockerfile.from_json(plain)
    for step in (1, {"step": "x"}, {"step": "run", "argv": 1}):
        with pytest.raises(ValueError, match=r"step|Run"):
            step_from_json(step)
