"""Owners as a container calls them: ids, and those in access lists and in capabilities of files."""

from __future__ import annotations

import struct

import pytest

from squall.blobs.owners import Owners
from squall.model.errors import TreeInvalid

OWNERS = Owners(uid_first=100_000, gid_first=200_000, count=65_536)
NOBODY = 0xFFFFFFFF


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_the_first_is_zero_and_nothing_beyond_the_last_is_anybodys() -> None:
    assert (OWNERS.uid(100_000, "f"), OWNERS.uid(165_535, "f"), OWNERS.gid(200_007, "f")) == (0, 65_535, 7)
    for number in (0, 99_999, 165_536):
        with pytest.raises(TreeInvalid, match=f"'f' belongs to the user {number}"):
            OWNERS.uid(number, "f")
    with pytest.raises(TreeInvalid, match="the group 100000"):
        OWNERS.gid(100_000, "f")


def test_access_lists_name_users_and_groups_and_nobody_else() -> None:
    rest = ((1, 6, NOBODY), (4, 4, NOBODY), (16, 4, NOBODY), (32, 0, NOBODY))
    given = acl(rest[0], (2, 4, 100_007), rest[1], (8, 4, 200_008), *rest[2:])
    seen = acl(rest[0], (2, 4, 7), rest[1], (8, 4, 8), *rest[2:])
    for name in ("system.posix_acl_access", "system.posix_acl_default"):
        assert OWNERS.xattr(name, given, "f") == seen
    with pytest.raises(TreeInvalid, match="belongs to"):
        OWNERS.xattr("system.posix_acl_access", acl((2, 4, 7)), "f")
    for cut in (b"", given[:3], given[:-1]):
        with pytest.raises(TreeInvalid, match="a list of permissions that is none"):
            OWNERS.xattr("system.posix_acl_access", cut, "f")


def test_capabilities_of_the_containers_root_are_those_that_it_set() -> None:
    sets = bytes(range(16))
    set_by_it = struct.pack("<I16s", 0x02000001, sets)
    assert (
        OWNERS.xattr("security.capability", struct.pack("<I16sI", 0x03000001, sets, 100_000), "f")
        == set_by_it
    )
    assert OWNERS.xattr("security.capability", set_by_it, "f") == set_by_it
    for root in (0, 100_001):
        with pytest.raises(TreeInvalid, match="'f'"):
            OWNERS.xattr("security.capability", struct.pack("<I16sI", 0x03000001, sets, root), "f")


def test_other_attributes_have_no_ids() -> None:
    assert OWNERS.xattr("user.note", b"\0" * 24, "f") == b"\0" * 24
