"""Left out: what of a package is not unpacked, and where the rest goes. Pure."""

from __future__ import annotations

from typing import Final

from squall.images.oci.layer_names import Names

MERGED: Final = frozenset({b"bin", b"sbin", b"lib", b"lib32", b"lib64", b"libx32"})
"""Folders of the root that are links into /usr."""

DPKG_CONFIG: Final = """\
# Documentation and translations are not unpacked; what a package may be used for is.
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/groff/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/linda/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
"""
"""The same, for dpkg."""

_SHARE: Final = (b"usr", b"share")
_WHOLE: Final = frozenset({b"info", b"groff", b"lintian", b"linda"})


def is_left_out(names: Names) -> bool:
    """Whether the path is one of documentation and translations.

    The sections of the manual stay, empty: programs that choose between alternatives link into them.
    """
    if names[:2] != _SHARE or len(names) < 4:
        return False
    match names[2]:
        case b"doc":
            return len(names) > 4 and names[4:] != (b"copyright",)
        case b"man":
            return len(names) > 4
        case b"locale":
            return names[3:] != (b"locale.alias",)
        case folder:
            return folder in _WHOLE


def placed(names: Names) -> Names:
    """Where a path of a package lies in the root: what it has in a folder that is a link lies where that leads."""
    return (b"usr", *names) if names and names[0] in MERGED else names
