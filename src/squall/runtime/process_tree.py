"""Process tree: the processes below one, and what they have in memory and have taken of the processors."""

import os

_TICKS_S = 1 / os.sysconf("SC_CLK_TCK")


def descendants(first: int) -> list[int]:
    """`first` and all processes below it."""
    found, open_ends = [first], [first]
    while open_ends:
        pid = open_ends.pop()
        # Each thread has the children that it forked itself.
        threads = _list(f"/proc/{pid}/task")
        lists = [read_text(f"/proc/{pid}/task/{thread}/children") for thread in threads]
        children = [int(child) for child in " ".join(lists).split()]
        found += children
        open_ends += children
    return found


def parent_of(pid: int) -> int | None:
    """The process that a process is a child of; None where it is gone."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else None


def resident_bytes(pid: int) -> int:
    """What the process alone has in memory, and the memory files that it has mapped; no program files."""
    fields = {}
    for line in read_text(f"/proc/{pid}/status").splitlines():
        name, _, value = line.partition(":")
        if name in {"RssAnon", "RssShmem"}:
            fields[name] = int(value.split()[0]) * 1024
    return sum(fields.values())


def cpu_seconds(pid: int) -> float:
    """Core-seconds of a process and of its children that have ended and been waited for."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * _TICKS_S if len(fields) > 15 else 0.0


def age_seconds(pid: int) -> float:
    """For how long a process has been there; 0 where it is gone."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    up = read_text("/proc/uptime").split()
    return max(0.0, float(up[0]) - int(fields[19]) * _TICKS_S) if len(fields) > 19 and up else 0.0


def standing(pid: int) -> str:
    """Where a process stands, for whoever wonders why it does not answer: its state as ps has it, and in what it waits in the kernel."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if not fields:
        return f"process {pid} is gone"
    place = read_text(f"/proc/{pid}/wchan").strip("0\n")
    return f"process {pid} is in state {fields[0]}{f', in {place}' if place else ''}, after {cpu_seconds(pid):.2f} s of work"


def read_text(path: str) -> str:
    """What a file of /proc says, "" where it is gone or not ours to look at."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # It has ended meanwhile, or is not ours to look at.


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []  # It has ended meanwhile.
