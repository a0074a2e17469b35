"""Into root: packages, one after the other, into a root that is kept."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from squall.blobs.digest import Bytes
from squall.blobs.manifest import Attributes
from squall.images.debian.deb import Control, Found
from squall.images.debian.dpkg_record import Record, conffile_paths
from squall.images.debian.left_out import MERGED, is_left_out, placed
from squall.images.debian.nouns import Package
from squall.images.debian.relation import parse_relations
from squall.images.oci.kept_tree import KeptTree
from squall.images.oci.layer_names import Names, names_of
from squall.images.oci.limits import LIMITS, Limits
from squall.images.oci.member_in import LINK_MODE, attributes_in, target_in
from squall.images.oci.tar_member import Kind, Member, shown
from squall.model.errors import LayerInvalid, LayerTooLarge

_DEVICES: Final = frozenset({Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE})


class IntoRoot:
    """Takes what packages have in them, and says what dpkg must know of each.

    The folders of the root that /usr has taken over are links into it from the start, as in every root that is made today.
    Raises LayerInvalid, LayerTooLarge, ValueError, for what cannot be part of a root.
    """

    def __init__(self, root: KeptTree, limits: Limits = LIMITS) -> None:
        self._root = root
        self._limits = limits
        self._owners: dict[Names, str] = {}
        self._merged: set[bytes] = set()
        self._package: Package | None = None
        self._control: Control | None = None
        self._conffiles: frozenset[str] = frozenset()
        self._replaced: frozenset[str] = frozenset()
        self._replaced_by: dict[str, frozenset[str]] = {}
        self._paths: list[str] = []
        self._md5s: dict[str, Any] = {}
        self._md5: Any = None
        self._ignored = False

    def begin(self, package: Package) -> None:
        """The next package; all that it has is taken then."""
        self._package, self._control = package, None
        self._paths, self._md5s, self._md5 = [], {}, None

    def take(self, found: Found) -> None:
        """The next of what the package's file has."""
        if isinstance(found, Control):
            self._said(found)
        elif isinstance(found, Member):
            self._member(found)
        else:
            self._bytes(found)

    def end(self) -> Record:
        """What dpkg must know of the package."""
        if self._control is None:
            raise ValueError("it does not say what it is")
        return Record(
            control=self._control,
            paths=tuple(self._paths),
            conffiles={path: md5.hexdigest() for path, md5 in self._md5s.items()},
        )

    def has(self, path: str) -> bool:
        """Whether a package has brought a file or a link there."""
        return tuple(path.encode().split(b"/")) in self._owners

    def link_merged(self, mtime_ns: int) -> None:
        """Makes the links into /usr, after the last package."""
        attributes = Attributes(mode=LINK_MODE, mtime_ns=mtime_ns)
        for name in sorted(self._merged | {b"bin", b"sbin", b"lib"}):
            self._root.tree.add_symlink((name,), attributes, b"usr/" + name)

    def _said(self, control: Control) -> None:
        package = self._package
        assert package is not None
        for key, wanted in (
            ("Package", package.name),
            ("Version", package.version),
            ("Architecture", package.architecture),
        ):
            if control.fields.get(key) != wanted:
                raise ValueError(f"its {key} is {control.fields.get(key, '')[:80]!r}, not {wanted}")
        self._control = control
        self._conffiles = conffile_paths(control)
        replaced = parse_relations(control.fields.get("Replaces", ""))
        self._replaced = frozenset(one.name for group in replaced for one in group)
        self._replaced_by[package.name] = self._replaced

    def _member(self, member: Member) -> None:
        names = names_of(member.name, self._limits)
        path = b"/".join(names).decode("utf-8", "surrogateescape")
        if "\n" in path:
            raise LayerInvalid(f"{shown(member.name)} has a line break in its name", entry=shown(member.name))
        self._paths.append(f"/{path}" if path else "/.")
        self._md5 = None
        self._ignored = is_left_out(names) or self._is_merged_folder(names, member)
        if self._ignored:
            return
        names = placed(names)
        if member.kind is Kind.DIRECTORY:
            self._root.tree.add_directory(names, _attributes(member))
            return
        self._ignored = not self._may_have(names)
        if not self._ignored:
            self._inode(names, member)
            if member.kind is Kind.FILE and f"/{path}" in self._conffiles:
                self._md5 = self._md5s[f"/{path}"] = hashlib.md5(usedforsecurity=False)

    def _inode(self, names: Names, member: Member) -> None:
        if member.kind in _DEVICES:
            raise LayerInvalid(
                f"{shown(member.name)} is a device, which leads out of every root", entry=shown(member.name)
            )
        if member.kind is Kind.HARDLINK:
            self._root.tree.add_name(names, placed(names_of(member.target, self._limits)))
        elif member.kind is Kind.SYMLINK:
            self._root.tree.add_symlink(names, _attributes(member), target_in(member))
        elif member.kind is Kind.FIFO:
            self._root.tree.add_fifo(names, _attributes(member))
        else:
            if member.size > self._limits.unpacked_bytes:
                raise LayerTooLarge(
                    f"{shown(member.name)} has {member.size} bytes", limit=self._limits.unpacked_bytes
                )
            self._root.begin(names, _attributes(member), member.size)

    def _bytes(self, data: Bytes) -> None:
        if not self._ignored:
            self._root.add(data)
            if self._md5 is not None:
                self._md5.update(data)

    def _is_merged_folder(self, names: Names, member: Member) -> bool:
        """Whether this is one of the folders that are links into /usr, which are made at the end."""
        if not names or names[0] not in MERGED:
            return False
        self._merged.add(names[0])
        if len(names) > 1:
            return False
        if member.kind is Kind.DIRECTORY:
            self._root.tree.add_directory(placed(names), _attributes(member))
        elif member.kind is not Kind.SYMLINK or member.target.strip(b"/") != b"usr/" + names[0]:
            raise LayerInvalid(
                f"{shown(member.name)} is no folder, and in every root of today leads into /usr",
                entry=shown(member.name),
            )
        return True

    def _may_have(self, names: Names) -> bool:
        """Whether the package's path counts rather than that of one before it. Raises LayerInvalid where both claim it."""
        package = self._package
        assert package is not None
        owner = self._owners.get(names)
        if owner is None or owner == package.name or owner in self._replaced:
            self._owners[names] = package.name
            return True
        if package.name in self._replaced_by.get(owner, ()):
            return False
        path = b"/".join(names).decode("utf-8", "surrogateescape")
        raise LayerInvalid(f"{path[:200]!r} is in the package {owner} too", entry=path[:200])


def _attributes(member: Member) -> Attributes:
    attributes, _ = attributes_in(member)
    return attributes
