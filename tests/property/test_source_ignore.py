"""The rules of ignore files decide as git does."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from squall.sdk.ignore import Rules, RuleSet, docker_rules, git_rules
from squall.sdk.source_walk import walk

names = st.sampled_from(["a", "b", "ab", "a.py", "b.log", "x y", "[a]", "a-b", ".h", "A", "!a", "#a", "a\\b"])
pieces = st.sampled_from(
    [
        "a",
        "b",
        "*",
        "?",
        "[ab]",
        "[!a]",
        "[a-c]",
        "[]a]",
        "[[:alpha:]]",
        "\\*",
        ".py",
        ".",
        "-",
    ]
)
# Two asterisks stand alone in a part of a path: anywhere else git's documentation and git disagree.
parts = st.lists(pieces, min_size=1, max_size=3).map("".join).filter(lambda part: "**" not in part)
segments = parts | names | st.just("**")


@st.composite
def lines(draw: st.DrawFn) -> str:
    body = "/".join(draw(st.lists(segments, min_size=1, max_size=3)))
    return (
        draw(st.sampled_from(["", "", "", "!", "\\"]))
        + draw(st.sampled_from(["", "", "/"]))
        + body
        + draw(st.sampled_from(["", "", "/", " ", "\\ ", "/**"]))
    )


files = st.lists(names, min_size=1, max_size=4).map("/".join)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the judge here")
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    paths=st.sets(files, min_size=1, max_size=12),
    rules=st.lists(lines(), max_size=5),
    inner=st.lists(lines(), max_size=3),
    below=names,
)
def test_what_ships_is_what_git_would_add(
    paths: set[str], rules: list[str], inner: list[str], below: str
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for path in sorted(paths):
            place_file(root / path)
        place_file(root / ".gitignore", "\n".join(rules) + "\n")
        if (root / below).is_dir():
            place_file(root / below / ".gitignore", "\n".join(inner) + "\n")
        by_git = git(root)
        shipped = {file.path for file in walk(directory, limit=1000).files}
        assert shipped == by_git


def place_file(path: Path, text: str = "") -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except (IsADirectoryError, NotADirectoryError, FileExistsError):
        pass  # the drawn paths need the same name as a file and as a directory


def git(root: Path) -> set[str]:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "init", "-q", "."], cwd=root, env=env, check=True)
    told = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=root,
        env=env,
        check=True,
        capture_output=True,
    )
    return set(told.stdout.decode().split("\0")) - {""}


@given(text=st.text())
def test_any_text_is_an_ignore_file(text: str) -> None:
    rules = Rules(
        (RuleSet(git_rules(text, file=".gitignore")), RuleSet(docker_rules(text, file="d"), parents=True))
    )
    rules.ignoring("a/b.py", "b.py", is_directory=False)


@given(lines=st.lists(lines()), path=files)
def test_the_one_look_over_all_rules_agrees_with_each_rule(lines: list[str], path: str) -> None:
    found = RuleSet(git_rules("\n".join(lines), file="f"))
    name = path.rpartition("/")[2]
    one_by_one = [rule for rule in found.rules if rule.regex.fullmatch(name if rule.by_name else path)]
    last = next((rule for rule in reversed(one_by_one) if not rule.directories_only), None)
    assert found.decides(path, name, is_directory=False) == last
