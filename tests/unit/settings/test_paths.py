"""Where the state is kept: the choice, the refusals, and the modes."""

import os
import stat
from pathlib import Path

import pytest

from squall.model.errors import StateDirectoryError
from squall.settings.paths import StatePaths, find_state, make_directories, open_state


def test_the_directory_that_is_asked_for_comes_first(tmp_path: Path) -> None:
    environ = {
        "SQUALL_STATE_DIR": str(tmp_path / "asked"),
        "XDG_STATE_HOME": str(tmp_path),
        "HOME": str(tmp_path),
    }
    assert find_state(environ).state == tmp_path / "asked"


def test_then_the_state_home_then_the_home(tmp_path: Path) -> None:
    xdg, home = tmp_path / "xdg", tmp_path / "home"
    xdg.mkdir()
    home.mkdir()
    assert find_state({"XDG_STATE_HOME": str(xdg), "HOME": str(home)}).state == xdg / "squall"
    assert find_state({"XDG_STATE_HOME": "relative", "HOME": str(home)}).state == home / ".local/state/squall"


def test_a_home_that_is_missing_or_no_directory_falls_to_the_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    own = tmp_path / f"squall-{os.geteuid()}"
    for home in (tmp_path / "nowhere", tmp_path / "file"):
        assert find_state({"HOME": str(home), "TMPDIR": str(tmp_path)}).state == own
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


def test_a_temporary_directory_that_others_may_rename_in_is_passed_over(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    found = find_state({"HOME": str(tmp_path / "nowhere"), "TMPDIR": str(open_to_all)})
    assert found.state.parent != open_to_all


def test_a_link_in_a_temporary_directory_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / f"squall-{os.geteuid()}").symlink_to(target)
    found = find_state({"HOME": str(tmp_path / "nowhere"), "TMPDIR": str(tmp_path)})
    assert found.state.parent != tmp_path
    assert not list(target.iterdir())


def test_a_state_directory_whose_parent_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StateDirectoryError, match="does not exist") as refused:
        open_state(tmp_path / "missing" / "state")
    assert "mkdir -p" in refused.value.remedy
    assert refused.value.path == str(tmp_path / "missing" / "state")


def test_a_place_that_cannot_be_written_to_is_refused_by_name() -> None:
    with pytest.raises(StateDirectoryError, match="cannot be written to") as refused:
        open_state("/sys/squall")
    assert "SQUALL_STATE_DIR" in refused.value.remedy


def test_a_home_that_cannot_be_written_to_falls_to_the_temporary_one(tmp_path: Path) -> None:
    found = find_state({"HOME": "/sys", "TMPDIR": str(tmp_path)})
    assert found.state == tmp_path / f"squall-{os.geteuid()}"


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(StateDirectoryError, match="no directory"):
        open_state(tmp_path / "state")


def test_a_state_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(StateDirectoryError, match="others may write"):
        open_state(state)


def test_every_directory_is_closed_to_others_and_stays_so(tmp_path: Path) -> None:
    paths = open_state(tmp_path / "state")
    assert all(stat.S_IMODE(directory.stat().st_mode) == 0o700 for directory in paths.directories)
    paths.run.chmod(0o755)
    make_directories(paths)
    assert stat.S_IMODE(paths.run.stat().st_mode) == 0o700


def test_a_link_in_place_of_a_part_is_refused(tmp_path: Path) -> None:
    paths = open_state(tmp_path / "state")
    paths.blobs.rmdir()
    paths.blobs.symlink_to(tmp_path)
    with pytest.raises(StateDirectoryError, match="a link"):
        open_state(tmp_path / "state")


def test_the_users_own_link_to_another_disk_is_followed(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)
    (tmp_path / "state").symlink_to(disk)
    assert open_state(tmp_path / "state").state == disk


def test_a_relative_state_directory_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match="absolute"):
        StatePaths(state=Path("here"))
