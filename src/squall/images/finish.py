"""Finish: takes out of a built layer what must not be kept, and says what will surprise its users."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from squall.images.redact import HIDDEN, without_userinfo

_URL_RECORD: Final = "direct_url.json"


def finish_layer(layer: Path, secrets: Iterable[str]) -> list[str]:
    """Make what an installer left a layer; what to tell users about it.

    Where a package came from by URL, installers note that URL: without its credentials, from here on.
    """
    (layer / ".lock").unlink(missing_ok=True)  # uv's own
    values = [value for value in secrets if value]
    for info in sorted(layer.glob("*.dist-info")):
        _clean_url(info, values)
    return _shadowing(layer)


def _clean_url(info: Path, secrets: list[str]) -> None:
    record = info / _URL_RECORD
    try:
        fd = os.open(record, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    with open(fd, encoding="utf-8", errors="replace") as file:
        said = file.read(1 << 20)
    clean = without_userinfo(said)
    for value in secrets:
        clean = clean.replace(value, HIDDEN)
    if clean == said:
        return
    record.unlink()
    record.write_text(clean, encoding="utf-8")
    _correct_record(info, clean)


def _correct_record(info: Path, text: str) -> None:
    """Write the file's new digest into the list of the package's files."""
    listed = info / "RECORD"
    if listed.is_symlink() or not listed.is_file():
        return
    data = text.encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    name = f"{info.name}/{_URL_RECORD}"
    lines = [
        f"{name},sha256={digest},{len(data)}" if line.startswith(f"{name},") else line
        for line in listed.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    listed.unlink()
    listed.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _shadowing(layer: Path) -> list[str]:
    """Old back ports of standard modules: programs that user code starts would import them instead."""
    tops = {name.removesuffix(".py") for name in os.listdir(layer) if name.endswith(".py") or "." not in name}
    return [
        f"a package brings its own `{name}`, which hides the one of the standard library in programs that "
        "your code starts; leave that package out if you can"
        for name in sorted(tops & sys.stdlib_module_names)
    ]
