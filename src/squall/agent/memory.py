"""Memory: what one process takes, as the node sees it."""

from __future__ import annotations


def private_bytes(pid: int) -> int:
    """What the process alone has in memory; 0 where it cannot be seen, or for pid 0."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            fields = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return 0
    return int(fields.get("RssAnon", "0 kB").split()[0]) * 1024
