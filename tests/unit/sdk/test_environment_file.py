from __future__ import annotations

from pathlib import Path

import pytest

from squall.model.errors import InvalidError, SourceFileNotFound
from squall.sdk.environment_file import EnvironmentFile, environment_file, read_environment_file

WHOLE = """
---
# A file as conda writes it.
name: thing
channels:
  - conda-forge   # the first
  - 'https://host/a b#c'
dependencies:
- python=3.12
- "numpy >=1.26,<3"
- conda-forge::scipy[version='>=1']
- pip:
    - six==1.17.0
    - -r more.txt
    - git+https://host/x@main#egg=x
- openssl
prefix: /home/ada/thing
"""


def test_a_file_as_conda_writes_it_is_understood() -> None:
    assert environment_file(WHOLE.replace("---\n", ""), "f") == EnvironmentFile(
        channels=("conda-forge", "https://host/a b#c"),
        packages=("python=3.12", "numpy >=1.26,<3", "conda-forge::scipy[version='>=1']", "openssl"),
        pip=("six==1.17.0", "-r more.txt", "git+https://host/x@main#egg=x"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "dependencies: [a, 'b >=1,<2', \"c\"]",
        "dependencies:\n  - a\n  - b >=1,<2\n  - c",
        "dependencies:\n- a\n- 'b >=1,<2'  # which one\n- c\n",
        "---\nname: it\ndependencies:\n    -   a\n    -   b >=1,<2\n\n    # and\n    -   c\n",
    ],
)
def test_a_list_is_written_in_brackets_or_an_entry_a_line(text: str) -> None:
    assert environment_file(text, "f").packages == ("a", "b >=1,<2", "c")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dependencies:\n  - &it a\n", "line 2"),
        ("dependencies:\n  - {name: a}\n", "line 2"),
        ("dependencies:\n  - a: b\n", "line 2"),
        ("dependencies:\n  - conda:\n    - a\n", "line 3"),
        ("dependencies:\n  - pip:\n    - a:\n", "line 3"),
        ("dependencies:\n  - |\n    a\n", "line 3"),
        ("dependencies:\n  - a\n - b\n", "line 3"),
        ("dependencies:\n\t- a\n", "line 2"),
        ("dependencies:\n  -\n", "line 2"),
        ("dependencies: a\n", "line 1"),
        ("dependencies: [a, [b]]\n", "line 1"),
        ("dependencies: [a\n", "line 1"),
        ("dependencies:\n  - 'a\n", "line 2"),
        ("numpy=2\nscipy\n", "line 1"),
        ("dependencies: [a]\nvariables:\n  A: b\n", "variables"),
        ("dependencies: [a]\nplatforms: [linux-64]\n", "platforms"),
        ("version: 1\ndependencies: [a]\n", "version"),
        ("metadata:\n  channels: []\npackage: []\n", "lock file"),
        ("environments:\n  default: {}\n", "lock file"),
        ("name: nothing\n", "names no package"),
        ("dependencies:\n", "names no package"),
        ("", "names no package"),
        ("@EXPLICIT\n", "no package file"),
        ("@EXPLICIT\nnumpy=2\n", "line 2"),
    ],
)
def test_what_is_not_understood_is_named_and_nothing_is_guessed(text: str, words: str) -> None:
    with pytest.raises(InvalidError, match=words) as refused:
        environment_file(text, "env.yml")
    assert "env.yml" in refused.value.message


def test_a_list_of_package_files_is_kept_as_it_is() -> None:
    files = ("https://h/it/linux-64/a-1-0.conda#" + "a" * 32, "https://h/it/noarch/b-1-0.tar.bz2")
    text = "\n".join(["# made by conda", "# platform: linux-64", "@EXPLICIT", *files])
    assert environment_file(text, "f") == EnvironmentFile(explicit=files)


def test_a_credential_of_a_line_that_is_not_understood_is_not_shown() -> None:
    with pytest.raises(InvalidError) as refused:
        environment_file("@EXPLICIT\nhttps://ada:secret@h/t/to-ken/x.zip\n", "f")
    assert "secret" not in refused.value.message
    assert "to-ken" not in refused.value.message


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\0")
    for path in (tmp_path / "none.yml", tmp_path / "bytes", tmp_path):
        with pytest.raises(SourceFileNotFound, match=str(path)):
            read_environment_file(str(path))
