"""What of a Dockerfile is refused, by whom, and what the user is told."""

from __future__ import annotations

import pytest

from squall.images.dockerfile import parse
from squall.images.dockerfile.lines import LONGEST_FILE
from squall.model.errors import ImageStepUnavailable, InvalidError


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("RUN --mount=type=cache,target=/x y", "RUN --mount"),
        ('RUN --mount=type=bind,source="a b" y', "RUN --mount"),
        ("RUN --network=none y", "RUN --network"),
        ("RUN --security=insecure y", "RUN --security"),
        ("COPY --link a b", "COPY --link"),
        ("COPY --parents a b", "COPY --parents"),
        ("COPY --exclude=*.md a b", "COPY --exclude"),
        ("COPY --chmod=u+x a b", "--chmod by letters"),
        ("ADD git@github.com:a/b.git /c", "ADD of a git repository"),
        ("ADD https://example.org/a.git#v1 /c", "ADD of a git repository"),
        ("ADD ssh://git@example.org/a /c", "ADD of a git repository"),
        ("ENV U=https://x\nADD $U/a.git /b", "ADD of a git repository"),
        ("ENV A=${B#x}", "substitution by pattern"),
        ("ENV A=${B%%x}", "substitution by pattern"),
        ("ENV A=${B/x/y}", "substitution by pattern"),
        ("FROM --platform=linux/arm64 x", "FROM --platform of another machine"),
        ("FROM a AS b\nONBUILD RUN x\nFROM b", "ONBUILD"),
    ],
)
def test_what_is_not_done_is_refused_by_its_line(text: str, feature: str) -> None:
    with pytest.raises(ImageStepUnavailable) as refused:
        parse(f"FROM busybox\n\n{text}")
    last = 3 + (text.startswith(("ENV U", "FROM a AS")))
    assert (refused.value.feature, refused.value.details["line"]) == (feature, last)
    assert text.splitlines()[last - 3] in str(refused.value)
    assert refused.value.remedy != ImageStepUnavailable.remedy


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no FROM"),
        ("# nothing", "there is no FROM"),
        ("ARG A", "there is no FROM"),
        ("RUN x\nFROM a", "before the first FROM"),
        ("FROM", "FROM is written otherwise"),
        ("FROM a b", "FROM is written otherwise"),
        ("FROM a AS 1", "no name for a stage"),
        ("FROM $X", "which is no image"),
        ("FROM --as=x a", "no flag --as"),
        ("FROM --platform a", "--platform has no value"),
        ("FROM a\nRUNN x", "'RUNN' is no instruction"),
        ("FROM a\nRUN", "nothing to run"),
        ("FROM a\nRUN []", "nothing to run"),
        ('FROM a\nRUN ["a", 1]', "something else than strings"),
        ('FROM a\nRUN ["\\u0000"]', "NUL"),
        ("FROM a\nRUN <<EOF\nx", "has no end"),
        ("FROM a\nENV", "ENV names nothing"),
        ("FROM a\nENV A", "ENV A has no value"),
        ("FROM a\nENV A=1 B", "not of the form NAME=value"),
        ("FROM a\nENV A=1 =2", "not of the form NAME=value"),
        ("FROM a\nENV A='", "single quote is not closed"),
        ('FROM a\nENV A="', "double quote is not closed"),
        ("FROM a\nENV A=${B", "not closed"),
        ("FROM a\nENV A=${B:-c", "not closed"),
        ("FROM a\nENV A=${}", "followed by no name"),
        ('FROM a\nENV A="${B:?must be}"', "B has no value: must be"),
        ("FROM a\nENV A=" + "${B:-" * 99, "too deep"),
        ("FROM a\nENV A=aaaaaaaaaaaaaaaa\n" + "ENV A=$A$A\n" * 60, "grows to more"),
        ("FROM a\nARG", "ARG names nothing"),
        ("FROM a\nARG =1", "has no name"),
        ("FROM a\nCOPY a", "needs a source and a destination"),
        ("FROM a\nCOPY a b /c", "/c does not end with a slash"),
        ("FROM a\nCOPY a $X", "the destination of COPY is empty"),
        ("FROM a\nCOPY https://x/y /z", "this is an address"),
        ("FROM a\nADD ftp://x/y /z", "takes addresses of http and https"),
        ("FROM a\nADD https://x/ /z/", "does not say how its file is called"),
        ("FROM a\nADD https://x/y https://x/z /a", "/a does not end with a slash"),
        ("FROM a\nADD --checksum=sha256:0 https://x/y z", "--checksum is the sha256"),
        (f"FROM a\nADD --checksum=md5:{'0' * 64} https://x/y z", "--checksum is the sha256"),
        (f"FROM a\nADD --checksum=sha256:{'0' * 64} https://x/y https://x/z a/", "--checksum is the sha256"),
        (f"FROM a\nADD --checksum=sha256:{'0' * 64} y z", "--checksum is the sha256"),
        ("FROM a\nCOPY --from=$X a b", "--from takes no variable"),
        ("FROM a\nCOPY --from=0 a b", "no stage 0 above"),
        ("FROM a AS b\nCOPY --from=b a b", "not above this one"),
        ("FROM a\nCOPY --from=c a b\nFROM x AS c\nFROM 0\nCOPY --from=0 a b", "not above this one"),
        ("FROM a\nCOPY --chown=a --chown=b c d", "twice"),
        ("FROM a\nCOPY --from=x <<E /f\nE", "comes from no other stage"),
        ("FROM a\nCOPY <<a/b /f\na/b", "no name for a file"),
        ("FROM a\nSHELL bash", "SHELL takes a list"),
        ("FROM a\nWORKDIR", "WORKDIR names nothing"),
        ("FROM a\nVOLUME $X", "empty path"),
        ("FROM a\nHEALTHCHECK curl", "HEALTHCHECK is written otherwise"),
        ("FROM a\nONBUILD ONBUILD RUN x", "cannot be followed by ONBUILD"),
        ("# escape=x\nFROM a", "no escape character"),
        ("# escape=`\n# Escape=`\nFROM a", "twice"),
        ("FROM a\nRUN \0", "NUL"),
        ("FROM a\n" + "RUN x\n" * 1_000, "more than 1000 instructions"),
        ("FROM a\nENV " + " ".join(f"A{at}=1" for at in range(1_000)), "more than 1000 variables"),
        ("FROM a\nARG " + "A" * 262_145, "262144 characters"),
        (
            "ARG A\nARG " + " ".join(f"A{at}=1" for at in range(1_000)) + "\nFROM a",
            "more than 1000 variables",
        ),
        ("FROM a\nRUN " + "--a " * 100_000, "no flag --a"),
        ("FROM a\nENV A='" + "x" * 500_000, "single quote is not closed"),
        ("FROM a\n" + "#" * LONGEST_FILE, "more than"),
    ],
)
def test_what_docker_refuses_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidError) as refused:
        parse(text)
    assert why in str(refused.value)
    assert str(refused.value).startswith("line ")
    assert refused.value.remedy != InvalidError.remedy


def test_text_that_is_no_text_is_refused() -> None:
    for text in (b"FROM a\nRUN \xff", "FROM a\nRUN \ud800"):
        with pytest.raises(InvalidError, match=r"line 2 .*UTF-8"):
            parse(text)
    for name, value in (("A", "\0"), ("A=", "b"), ("", "b"), ("A", "\ud800")):
        with pytest.raises(InvalidError, match="build argument"):
            parse("FROM a", build_args={name: value})


def test_no_password_stands_in_an_error() -> None:
    with pytest.raises(InvalidError) as refused:
        parse("FROM a\nADD https://ada:s3cret@example.org/x /y")
    assert "s3cret" not in str(refused.value)
