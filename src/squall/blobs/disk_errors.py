"""Disk error: what the operating system said about a disk, as an error with a name and a remedy."""

from __future__ import annotations

import errno
import os
from typing import Final

from squall.model.errors import DiskFull, Error, StateDirectoryError, StateDirectoryReadOnly, TooManyFiles

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})


def disk_error(error: OSError, path: str | os.PathLike[str]) -> Error:
    """The error to raise `from error`: what could not be done below `path`, and why."""
    where, said = os.fspath(path), error.strerror or str(error)
    if error.errno in _FULL:
        return DiskFull(f"there is no room left to write in {where}: {said}", path=where)
    if error.errno in _REFUSED:
        return StateDirectoryReadOnly(f"nothing can be written in {where}: {said}", path=where)
    if error.errno in _FILES:
        return TooManyFiles(f"no further file can be opened in {where}: {said}")
    return StateDirectoryError(f"{where} cannot be used: {said}", path=where)
