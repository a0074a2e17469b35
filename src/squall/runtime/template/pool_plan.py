"""How many prepared sandboxes a template keeps: a few, more while starts come thick, none that nobody asks for."""

from dataclasses import dataclass, replace

LEAST = 2
MOST = 64
AT_ONCE = 8
"""Sandboxes that are being made at one time: each takes some 6 ms of a core, and a start in between waits for its turn."""
WINDOW_S = 5.0
THICK = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """How starts have come so far: in this window of WINDOW_S seconds, which began at began_s, and in the one before."""

    began_s: float = 0.0
    now: int = 0
    before: int = 0

    def started(self, now_s: float) -> "Pool":
        """The same after a start at now_s."""
        seen = self.at(now_s)
        return replace(seen, now=seen.now + 1)

    def at(self, now_s: float) -> "Pool":
        """The same as it is to be seen at now_s."""
        age_s = now_s - self.began_s
        if age_s < WINDOW_S:
            return self
        return Pool(began_s=now_s, now=0, before=self.now if age_s < 2 * WINDOW_S else 0)


def wanted(pool: Pool, *, now_s: float) -> int:
    """How many sandboxes shall be ready: as many as starts came in a fifth of the busier window, LEAST to MOST."""
    seen = pool.at(now_s)
    return max(LEAST, min(MOST, -(-max(seen.now, seen.before) // 5)))


def missing(pool: Pool, *, now_s: float, ready: int, making: int, waiting: int) -> int:
    """How many more are to be made now: for those who wait, and for the pool, at most AT_ONCE at one time."""
    short = waiting + wanted(pool, now_s=now_s) - ready - making
    return max(0, min(short, AT_ONCE - making))


def spares_wanted(pool: Pool, *, now_s: float) -> int:
    """How many forks shall wait ahead of any request: one, which costs some 2 MB, and a second where starts come thick."""
    seen = pool.at(now_s)
    return 2 if max(seen.now, seen.before) >= THICK else 1
