"""Canary: every place of a house in which a value is looked for that should be nowhere."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from urllib.parse import quote

from tests.end_to_end.terminal import Terminal


def found_of(terminal: Terminal, values: list[str]) -> list[str]:
    """Every place of a house where one of these values is found and should not be."""
    wanted = [form for value in values for form in spellings(value)]
    found = in_files(terminal.state, wanted)
    family = family_of(pids_of(terminal))
    for pid, name in family.items():
        for what in ("cmdline", "environ"):
            try:
                content = Path(f"/proc/{pid}/{what}").read_bytes()
            except OSError:
                continue
            found += [f"{what} of {name} ({pid}): {one!r}" for one in wanted if one in content]
        # Containers have their values, and the server opens them; nobody else does.
        if name in {"squall-template", "squall-launcher", "squall-init"} or pid in pids_of(
            terminal, "squall.runtime.launcher"
        ):
            found += [f"memory of {name} ({pid}): {one!r}" for one in in_memory(pid, wanted)]
    return found


def spellings(value: str) -> list[bytes]:
    raw = value.encode()
    return [raw, base64.b64encode(raw).rstrip(b"="), quote(value, safe="").encode()]


def pids_of(terminal: Terminal, module: str = "") -> list[int]:
    """The processes of this house, those of a module alone where one is named."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(terminal.state) in line and module in line and str(os.getpid()) != entry.name:
                found.append(int(entry.name))
    return found


def family_of(roots: list[int]) -> dict[int, str]:
    """These processes and all below them, by name."""
    parents: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            name, rest = stat.partition("(")[2].rpartition(")")[::2]
            parents.setdefault(int(rest.split()[1]), []).append(int(entry.name))
            names[int(entry.name)] = name
    found, left = {}, list(roots)
    while left:
        pid = left.pop()
        if pid in names and pid not in found:
            found[pid] = names[pid]
            left += parents.get(pid, [])
    return found


def in_memory(pid: int, wanted: list[bytes]) -> set[bytes]:
    """Which of these are in a process's own memory."""
    found: set[bytes] = set()
    try:
        areas = Path(f"/proc/{pid}/maps").read_text().splitlines()
        memory = open(f"/proc/{pid}/mem", "rb", buffering=0)  # noqa: SIM115 - closed below
    except OSError:
        return found
    with memory:
        for area in areas:
            where, how = area.split()[:2]
            start, stop = (int(place, 16) for place in where.split("-"))
            if "r" not in how or stop > 2**63 or "[v" in area:
                continue
            try:
                memory.seek(start)
                content = memory.read(min(stop - start, 256 * 2**20))
            except (OSError, OverflowError):
                continue
            found |= {one for one in wanted if one in content}
    return found


def in_files(folder: Path, wanted: list[bytes]) -> list[str]:
    """Files below a directory that have one of these, whatever they are."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            try:
                content = path.read_bytes()
            except OSError:
                continue
            found += [f"{path}: {one!r}" for one in wanted if one in content]
    return found
