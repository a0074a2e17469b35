"""Where the environment of a clone is looked for, and when it counts as ready."""

import os
from pathlib import Path

import pytest

from bootstrap import place


@pytest.fixture
def root(tmp_path: Path) -> Path:
    clone = tmp_path / "clone"
    clone.mkdir(mode=0o755)
    (clone / "pyproject.toml").write_text('[project]\nname = "x"\n', encoding="utf-8")
    return clone


def make(root: Path, home: Path, *extras: str) -> Path:
    path = home / place.name(str(root))
    (path / "bin").mkdir(parents=True)
    home.chmod(0o755)
    Path(place.python(str(path))).touch()
    (path / place.STAMP).write_text(place.identity(str(root)) + "\n" + " ".join(extras), encoding="utf-8")
    return path


def test_beside_the_clone_comes_first_and_a_temporary_folder_last() -> None:
    found = list(place.homes("/clone", {"XDG_STATE_HOME": "/state", "TMPDIR": "/scratch"}))
    assert found[0] == os.path.join("/clone", ".squall-env")
    assert found[1] == os.path.join("/state", "squall", "env")
    assert found[-1] == os.path.join("/scratch", f"squall-{place.user()}", "env")


def test_a_folder_that_was_named_is_the_only_one() -> None:
    assert list(place.homes("/clone", {"SQUALL_ENV_DIR": "/mine"})) == ["/mine"]


def test_an_environment_is_found_by_its_stamp(root: Path) -> None:
    path = make(root, root / ".squall-env", "server", "test")
    assert place.find(str(root), frozenset({"server"})) == str(path)


def test_it_is_not_ready_for_extras_that_it_lacks(root: Path) -> None:
    make(root, root / ".squall-env", "server")
    assert place.find(str(root), frozenset({"server", "test"})) is None


def test_a_change_of_pyproject_makes_it_stale(root: Path) -> None:
    make(root, root / ".squall-env", "server")
    (root / "pyproject.toml").write_text('[project]\nname = "y"\n', encoding="utf-8")
    assert place.find(str(root), frozenset({"server"})) is None


@pytest.mark.needs("linux")
def test_an_environment_that_others_may_write_to_is_not_ours(root: Path) -> None:
    home = root / ".squall-env"
    make(root, home, "server")
    home.chmod(0o777)
    assert place.find(str(root), frozenset({"server"})) is None


def test_a_torn_stamp_is_no_environment(root: Path) -> None:
    path = make(root, root / ".squall-env", "server")
    (path / place.STAMP).write_bytes(b"\xff\xfe")
    assert place.find(str(root), frozenset()) is None
