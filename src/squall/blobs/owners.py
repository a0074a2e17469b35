"""Owners: the ids of a container's files as the container sees them, from those that this machine keeps."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from squall.model.errors import TreeInvalid

# struct vfs_ns_cap_data: a number with the version in its top byte, two pairs of sets, and whose root it is about.
_CAPABILITY: Final = struct.Struct("<I16sI")
_OLDER_CAPABILITY: Final = struct.Struct("<I16s")
_VERSION_MASK: Final = 0xFF000000
_VERSION_2, _VERSION_3 = 0x02000000, 0x03000000

# struct posix_acl_xattr_entry, behind a number of four bytes: what it is about, permissions, the id for two kinds.
_ACL_HEAD: Final = 4
_ACL_ENTRY: Final = struct.Struct("<HHI")
_ACL_USER: Final = 0x02
_ACL_GROUP: Final = 0x08


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Which ids of this machine are a container's 0 and those after it: `count` of both kinds.

    Each call raises TreeInvalid for an id that is none of the container's, and names `path`.
    """

    uid_first: int
    gid_first: int
    count: int

    def uid(self, uid: int, path: str) -> int:
        """What the container calls this user."""
        return self._inside(uid - self.uid_first, f"the user {uid}", path)

    def gid(self, gid: int, path: str) -> int:
        """What the container calls this group."""
        return self._inside(gid - self.gid_first, f"the group {gid}", path)

    def xattr(self, name: str, value: bytes, path: str) -> bytes:
        """What the container sees of an attribute: three kinds have ids in them."""
        if name == "security.capability":
            return self._capability(value, path)
        if name in {"system.posix_acl_access", "system.posix_acl_default"}:
            return self._acl(value, path)
        return value

    def _inside(self, number: int, what: str, path: str) -> int:
        if not 0 <= number < self.count:
            raise TreeInvalid(f"{path!r} belongs to {what} of this machine, whom no container has", path=path)
        return number

    def _capability(self, value: bytes, path: str) -> bytes:
        """One that says whose root it is about is about the container's own: that needs not be said in there."""
        if len(value) != _CAPABILITY.size:
            return value
        head, sets, root = _CAPABILITY.unpack(value)
        if head & _VERSION_MASK != _VERSION_3:
            return value
        if self.uid(root, path) != 0:
            raise TreeInvalid(f"{path!r} has capabilities for another than the container's root", path=path)
        return _OLDER_CAPABILITY.pack(head & ~_VERSION_MASK | _VERSION_2, sets)

    def _acl(self, value: bytes, path: str) -> bytes:
        if len(value) < _ACL_HEAD or (len(value) - _ACL_HEAD) % _ACL_ENTRY.size:
            raise TreeInvalid(f"{path!r} has a list of permissions that is none", path=path)
        entries = [
            (tag, allowed, self._named(tag, number, path))
            for tag, allowed, number in _ACL_ENTRY.iter_unpack(value[_ACL_HEAD:])
        ]
        return value[:_ACL_HEAD] + b"".join(_ACL_ENTRY.pack(*entry) for entry in entries)

    def _named(self, tag: int, number: int, path: str) -> int:
        if tag == _ACL_USER:
            return self.uid(number, path)
        return self.gid(number, path) if tag == _ACL_GROUP else number
