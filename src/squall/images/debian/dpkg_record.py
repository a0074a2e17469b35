"""Dpkg record: what dpkg must find written down of packages that it did not unpack itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from squall.images.debian.deb import Control

ADMIN: Final = "var/lib/dpkg"
_LATE: Final = "-noawait"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A package that was unpacked. paths: as its archive names them, in that order ("/." for the root).

    conffiles: the md5 of each file that its user may have changed, by its path.
    """

    control: Control
    paths: tuple[str, ...]
    conffiles: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.control.fields["Package"]

    @property
    def file_stem(self) -> str:
        """How its files below `info` begin."""
        fields = self.control.fields
        return f"{self.name}:{fields['Architecture']}" if fields.get("Multi-Arch") == "same" else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminFile:
    """A file of dpkg's own. path: from the root."""

    path: str
    data: bytes
    executable: bool = False


def admin_files(records: Iterable[Record], architecture: str) -> list[AdminFile]:
    """All files of dpkg's own, of a root of these packages that are unpacked and not configured."""
    records = sorted(records, key=lambda record: record.name)
    texts = {
        "arch": f"{architecture}\n",
        "available": "",
        "diversions": "",
        "statoverride": "",
        "info/format": "1\n",
        "status": "".join(map(_status, records)),
        **_triggers(records),
    }
    files = [AdminFile(path=f"{ADMIN}/{path}", data=_bytes(text)) for path, text in texts.items()]
    for record in records:
        stem = f"{ADMIN}/info/{record.file_stem}"
        files.append(AdminFile(path=f"{stem}.list", data=_bytes("".join(f"{p}\n" for p in record.paths))))
        files += [
            AdminFile(path=f"{stem}.{name}", data=data, executable=name in record.control.scripts)
            for name, data in sorted(record.control.files.items())
        ]
    return files


def conffile_paths(control: Control) -> frozenset[str]:
    """The files that the package's user may change, by the paths from the root on with their first slash."""
    lines = control.files.get("conffiles", b"").decode("utf-8", "surrogateescape").split("\n")
    # A line may have a word before its path: the file is to go with a later version.
    return frozenset(line.strip() for line in lines if line.startswith("/"))


def _status(record: Record) -> str:
    lines = record.control.text.split("\n")
    at = next((n for n, line in enumerate(lines) if line.startswith("Package:")), 0)
    lines.insert(at + 1, "Status: install ok unpacked")
    if record.conffiles:
        lines.append("Conffiles:")
        lines += [f" {path} {md5}" for path, md5 in sorted(record.conffiles.items())]
    return "\n".join(lines) + "\n\n"


def _triggers(records: Iterable[Record]) -> dict[str, str]:
    """Who wants to hear when something below a path changes, and who of what has a name."""
    by_path: list[str] = []
    by_name: dict[str, list[str]] = {}
    for record in records:
        said = record.control.files.get("triggers", b"").decode("utf-8", "surrogateescape")
        for line in said.split("\n"):
            words = line.partition("#")[0].split()
            if len(words) != 2 or not words[0].startswith("interest"):
                continue
            who = record.name + ("/noawait" if words[0].endswith(_LATE) else "")
            if words[1].startswith("/"):
                by_path.append(f"{words[1]} {who}\n")
            elif "/" not in words[1]:
                by_name.setdefault(words[1], []).append(f"{who}\n")
    named = {f"triggers/{name}": "".join(lines) for name, lines in sorted(by_name.items())}
    return {"triggers/File": "".join(by_path), "triggers/Unincorp": "", **named}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
