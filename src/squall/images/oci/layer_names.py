"""Layer names: what the names in a layer's archive mean, and which extended attributes are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from squall.blobs.overlay_notes import is_overlay_note
from squall.blobs.path_names import MAX_NAME_BYTES
from squall.images.oci.limits import Limits
from squall.images.oci.tar_member import Kind, Member, shown
from squall.model.errors import LayerInvalid

WHITEOUT: Final = b".wh."
OPAQUE: Final = b".wh..wh..opq"

_OTHERS_NOTES: Final = b".wh..wh."  # a union file system's own, which say nothing of the layer
_SLASH: Final = b"/"
_NOWHERE: Final = frozenset({b"", b"."})

Names = tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """What of the layers below is hidden: the path, or with `within` only all that is in the directory there."""

    names: Names
    within: bool = False


def names_of(written: bytes, limits: Limits) -> Names:
    """The names along a path of an archive, none for the root. Raises LayerInvalid, telling the path.

    Empty names and "." lead nowhere and go; ".." and a slash at the start lead out, and are refused.
    """
    names = tuple(written.split(_SLASH))
    if not _NOWHERE.isdisjoint(names):
        names = tuple(name for name in names if name not in _NOWHERE)
    if wrong := _wrong_with(written, names, limits):
        raise LayerInvalid(
            f"the entry {shown(written)} cannot be part of a layer: {wrong}", entry=shown(written)
        )
    return names


def hidden_by(names: Names, kind: Kind, written: bytes) -> Hidden | None:
    """What an entry hides, if that is what it is there for. Raises LayerInvalid for one that is named so, and is else.

    None too for notes of other file systems: see `is_others_note`.
    """
    if WHITEOUT not in written or is_others_note(names):
        return None
    *above, last = names or (b"",)
    if any(name.startswith(WHITEOUT) for name in above):
        raise _odd(written, "it lies in a directory whose name is that of a whiteout")
    if not last.startswith(WHITEOUT):
        return None
    # Some union file systems keep one file for all their whiteouts, and name it again.
    if kind not in {Kind.FILE, Kind.HARDLINK}:
        raise _odd(written, "its name is that of a whiteout, and it is no file")
    if last == OPAQUE:
        return Hidden(names=tuple(above), within=True)
    name = last.removeprefix(WHITEOUT)
    if name in {b"", b".", b".."}:
        raise _odd(written, "it hides what no directory has")
    return Hidden(names=(*above, name))


def is_others_note(names: Names) -> bool:
    """Whether the entry is there for a union file system itself, or lies in what is."""
    return any(name.startswith(_OTHERS_NOTES) for name in names) and names[-1] != OPAQUE


def xattrs_of(member: Member) -> tuple[tuple[tuple[str, bytes], ...], tuple[str, ...]]:
    """The extended attributes that are kept, sorted, and the names of those that are not.

    Kept are those of users, and the capabilities of programs: the others are about the machine that the archive was
    made on, or words between an overlay and its kernel.
    """
    if not member.xattrs:
        return (), ()
    kept: dict[bytes, bytes] = {}
    left: list[str] = []
    for name, value in member.xattrs:
        if _is_kept(name, value, member.kind):
            kept[name] = value
        else:
            left.append(name.decode("utf-8", "surrogateescape"))
    sorted_names = sorted(kept)
    return tuple((name.decode("utf-8", "surrogateescape"), kept[name]) for name in sorted_names), tuple(left)


def _is_kept(name: bytes, value: bytes, kind: Kind) -> bool:
    if name.startswith(b"user."):
        note = is_overlay_note(name.decode("utf-8", "surrogateescape"))
        # Nothing else can have one: the kernel would refuse to set it.
        return not note and kind in {Kind.FILE, Kind.DIRECTORY}
    if name == b"security.capability":
        return kind is Kind.FILE and (len(value), value[3:4]) in {(20, b"\x02"), (24, b"\x03")}
    return False


def _wrong_with(written: bytes, names: Names, limits: Limits) -> str:
    if b"\0" in written:
        return "it has a NUL in it"
    if written.startswith(_SLASH):
        return "it is absolute"
    if b".." in names:
        return "it has '..' in it"
    if not written:
        return "it has no name"
    if len(written) > MAX_NAME_BYTES and any(len(name) > MAX_NAME_BYTES for name in names):
        return f"a name in it is longer than {MAX_NAME_BYTES} bytes"
    if len(written) > limits.path_bytes:
        return f"it is longer than {limits.path_bytes} bytes"
    return f"it is deeper than {limits.depth} directories" if len(names) > limits.depth else ""


def _odd(written: bytes, why: str) -> LayerInvalid:
    return LayerInvalid(f"the entry {shown(written)} cannot be part of a layer: {why}", entry=shown(written))
