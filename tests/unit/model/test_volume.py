"""What a volume may be called, where it may be mounted, and which paths it may have."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from squall.model.errors import InvalidError, NameInvalid, VolumePathInvalid
from squall.model.volume import (
    MOST_MOUNTS,
    VolumeMount,
    check_label,
    check_mounts,
    check_volume_name,
    inner_path,
    mount_path,
)

OF = "vo-" + "0" * 32


@pytest.mark.parametrize(
    ("given_", "path"),
    [("/", ""), ("", ""), (".", ""), ("/a//./b/", "a/b"), ("a/b", "a/b"), ("...", "..."), ("a b/é", "a b/é")],
)
def test_a_path_of_a_volume_is_written_one_way(given_: str, path: str) -> None:
    assert inner_path(given_) == path


@pytest.mark.parametrize("path", ["..", "a/../b", "a\0", "a" * 256, "a/" * 129 + "b", "\ud800", 7, None])
def test_what_cannot_be_a_path_of_a_volume_is_refused(path: object) -> None:
    with pytest.raises(VolumePathInvalid):
        inner_path(path)


@given(st.text())
def test_a_path_never_leads_out_of_its_volume(text: str) -> None:
    try:
        path = inner_path(text)
    except VolumePathInvalid:
        return
    assert not path.startswith("/")
    assert inner_path(path) == path
    assert {"", ".", ".."}.isdisjoint(path.split("/")) or path == ""


def test_a_volume_is_mounted_at_a_directory_of_its_own() -> None:
    assert mount_path("/data//models/") == "/data/models"
    for path in ("data", "/", "//", "/.", "/proc", "/proc/self", "/sys/fs", "/dev/shm", "/a/../b", 1):
        with pytest.raises(VolumePathInvalid):
            mount_path(path)
    assert mount_path("/processed") == "/processed"


def test_no_two_volumes_are_mounted_at_one_place_or_one_in_another() -> None:
    def mount(path: str) -> VolumeMount:
        return VolumeMount(path=path, volume=OF)

    ordered = check_mounts([mount("/b"), mount("/a/c"), mount("/a-c"), mount("/a/b")])
    assert {one.path for one in ordered} == {"/a/b", "/a/c", "/a-c", "/b"}
    for paths in (("/a", "/a"), ("/a", "/a/b"), ("/a/b/c", "/x", "/a/b"), ("/a", "/a-", "/a/b")):
        with pytest.raises(VolumePathInvalid):
            check_mounts([mount(path) for path in paths])
    with pytest.raises(InvalidError, match="at most"):
        check_mounts([mount(f"/{number}") for number in range(MOST_MOUNTS + 1)])


def test_a_mount_checks_itself() -> None:
    assert VolumeMount(path="/a", volume=OF, read_only=True, sub_path="b/c").sub_path == "b/c"
    for wrong in ({"path": "/a/"}, {"path": "a"}, {"sub_path": "/b"}, {"sub_path": ".."}, {"volume": "fu-1"}):
        with pytest.raises(InvalidError):
            VolumeMount(**{"path": "/a", "volume": OF, **wrong})  # type: ignore[arg-type]  # one of them is wrong


def test_names_of_volumes_and_of_versions_are_checked() -> None:
    assert check_volume_name("weights-2.1") == "weights-2.1"
    assert check_label("release-1") == "release-1"
    for name in ("", "a/b", "-a", "a" * 65, None):
        with pytest.raises(NameInvalid):
            check_volume_name(name)
    with pytest.raises(InvalidError, match="number of a version"):
        check_label("17")
