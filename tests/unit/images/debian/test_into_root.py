from __future__ import annotations

import dataclasses
import tarfile

import pytest

from squall.blobs.manifest import Attributes, Fifo, File, Symlink
from squall.images.debian.configure import KEYRING
from squall.model.errors import DebianPackageInvalid
from tests.unit.images.debian.building import TOOL, build, with_bytes
from tests.unit.images.debian.distribution import Deb, Path, base, link, mirror

AT_NS = 1_600_000_000 * 10**9


def test_files_keep_their_owners_modes_times_and_attributes() -> None:
    paths = (
        Path("./var/a", b"a", mode=0o2640, uid=7, gid=8, xattrs={"user.note": "mine", "trusted.x": "no"}),
        dataclasses.replace(link("./var/b", "a"), mode=0o600, uid=9),
        Path("./var/c", kind=tarfile.FIFOTYPE, mode=0o600),
    )
    tree = build(mirror([*base(), Deb("one", paths=paths)]), "one").tree
    file, led, fifo = tree["var/a"], tree["var/b"], tree["var/c"]
    assert isinstance(file, File)
    assert file.attributes == Attributes(
        mode=0o2640, uid=7, gid=8, mtime_ns=AT_NS, xattrs=(("user.note", b"mine"),)
    )
    assert isinstance(led, Symlink)
    assert led.attributes == Attributes(mode=0o777, uid=9, mtime_ns=AT_NS)
    assert isinstance(fifo, Fifo)
    assert fifo.attributes.mode == 0o600


def test_a_folder_that_only_some_roots_have_is_a_link_where_a_package_has_it() -> None:
    one = Deb("one", paths=(Path("./lib64/ld.so", b"ld"),))
    assert "lib64" not in build(mirror(base())).tree
    tree = build(mirror([*base(), one]), "one").tree
    led = tree["lib64"]
    assert isinstance(led, Symlink)
    assert led.target == "usr/lib64"
    assert "usr/lib64/ld.so" in tree


def test_a_folder_that_a_package_has_as_the_same_link_is_no_contradiction() -> None:
    one = Deb("one", paths=(link("./lib64", "usr/lib64"), link("./lib", "/usr/lib/")))
    led = build(mirror([*base(), one]), "one").tree["lib64"]
    assert isinstance(led, Symlink)
    assert led.target == "usr/lib64"


def test_apt_is_bound_to_the_keys_of_the_distribution_where_a_package_brings_them() -> None:
    keys = Deb("debian-archive-keyring", paths=(Path(f"./{KEYRING}", b"keys"),))
    assert "signed-by" not in build(mirror(base())).text("etc/apt/sources.list")
    said = build(mirror([*base(), keys]), keys.name).text("etc/apt/sources.list")
    assert f"[signed-by=/{KEYRING}]" in said


@pytest.mark.parametrize("other", [{"version": "2"}, {"architecture": "arm64"}, {"name": "tools"}])
def test_a_package_that_says_otherwise_than_the_index_is_refused(other: dict[str, str]) -> None:
    packed = Deb(**{**vars(TOOL), **other}).packed()
    built = build(with_bytes(TOOL, packed), "tool")
    assert isinstance(built.failed, DebianPackageInvalid), built.failed
    assert next(iter(other.values())) in str(built.failed)


def test_a_link_that_leads_nowhere_is_refused() -> None:
    built = build(mirror([*base(), Deb("evil", paths=(link("./etc/x", ""),))]), "evil")
    assert isinstance(built.failed, DebianPackageInvalid), built.failed
    assert "target" in str(built.failed)
