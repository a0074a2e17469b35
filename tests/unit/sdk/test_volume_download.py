"""What a server says of a volume's files is written below the place that was named, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from squall.model.errors import InvalidError, VolumePathInvalid
from squall.model.volume import inner_path
from squall.sdk.volume_download import place_inside


def test_a_path_is_placed_below_the_target(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert place_inside(str(tmp_path), "a") == str(tmp_path / "a")
    assert place_inside(str(tmp_path), "d/a") == str(tmp_path / "d" / "a")


@pytest.mark.parametrize("path", ["../a", "/../a", "d/../../a", "a\0b"])
def test_a_path_that_leads_out_is_refused_before_it_is_placed(path: str) -> None:
    with pytest.raises(VolumePathInvalid):
        inner_path(path)


def test_a_path_that_is_absolute_is_taken_from_the_volumes_own_directory(tmp_path: Path) -> None:
    assert place_inside(str(tmp_path), inner_path("/etc")) == str(tmp_path / "etc")


def test_nothing_is_written_through_a_link_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "d").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidError, match="is no directory"):
        place_inside(str(tmp_path / "target"), "d/a")
    with pytest.raises(InvalidError, match="without a name"):
        place_inside(str(tmp_path / "target"), "")
