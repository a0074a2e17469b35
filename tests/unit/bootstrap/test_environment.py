"""An environment is made without the modules that distributions split off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap import environment, install, place

ROOT = Path(__file__).parents[3]


@pytest.fixture
def made(tmp_path: Path) -> str:
    path = os.fspath(tmp_path / "a folder with a long name and spaces")
    os.mkdir(path)
    environment._create(path)
    environment._link_sources(str(ROOT), path)
    return path


def python(path: str, *arguments: str) -> str:
    ended = subprocess.run(
        [place.python(path), *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    return ended.stdout.strip()


def test_its_interpreter_is_its_own_and_sees_the_clone(made: str) -> None:
    assert os.path.realpath(python(made, "-c", "import sys; print(sys.prefix)")) == os.path.realpath(made)
    assert python(made, "-c", "import squall; print(squall.__file__)") == str(
        ROOT / "src" / "squall" / "__init__.py"
    )


def test_it_has_the_packages_of_nobody_else(made: str) -> None:
    seen = python(made, "-c", "import sys; print([path for path in sys.path if 'packages' in path])")
    assert seen == str(
        [
            place.python(made).replace(
                "bin/python", f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
            )
        ]
    )


def test_making_it_again_changes_nothing(made: str) -> None:
    environment._create(made)
    assert python(made, "-c", "print(1)") == "1"


def test_a_command_is_written_that_any_length_of_path_can_start(made: str) -> None:
    text = Path(place.script(made)).read_text(encoding="utf-8")
    assert text.startswith("#!/bin/sh\n")
    compile(text, "squall", "exec")


def test_where_no_folder_can_be_written_every_refusal_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("SQUALL_ENV_DIR", str(file / "below"))
    with pytest.raises(install.InstallError, match="no place for the environment") as caught:
        environment.make(str(ROOT), frozenset())
    assert "SQUALL_ENV_DIR" in caught.value.remedy
