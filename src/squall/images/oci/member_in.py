"""Member in: what an entry of an archive says, as a manifest keeps it. Pure."""

from __future__ import annotations

from typing import Final

from squall.blobs.manifest import Attributes, Symlink
from squall.images.oci.layer_names import xattrs_of
from squall.images.oci.tar_member import Kind, Member, shown
from squall.model.errors import LayerInvalid, TreeInvalid

LINK_MODE: Final = 0o777
"""What the kernel says of every symbolic link, whatever an archive says."""


def attributes_in(member: Member) -> tuple[Attributes, tuple[str, ...]]:
    """The attributes of an entry, and the names of its extended ones that are not kept. Raises LayerInvalid."""
    kept, left = xattrs_of(member)
    try:
        attributes = Attributes(
            mode=LINK_MODE if member.kind is Kind.SYMLINK else member.mode,
            uid=member.uid,
            gid=member.gid,
            mtime_ns=member.mtime_ns,
            xattrs=kept,
        )
    except TreeInvalid as error:
        raise LayerInvalid(
            f"{shown(member.name)} cannot be kept: {error.message}", entry=shown(member.name)
        ) from error
    return attributes, left


def target_in(member: Member) -> bytes:
    """Where a symbolic link leads: anywhere, for only a container follows it. Raises LayerInvalid for what no link keeps."""
    try:
        Symlink(
            path="link",
            attributes=Attributes(mode=LINK_MODE),
            target=member.target.decode("utf-8", "surrogateescape"),
        )
    except TreeInvalid as error:
        raise LayerInvalid(
            f"the link {shown(member.name)} has a target that nothing keeps", entry=shown(member.name)
        ) from error
    return member.target
