"""Regions: which memory of a process is worth huge pages, read from its own smaps."""

from dataclasses import dataclass

HUGE = 2 * 1024 * 1024

# Below this share of touched memory, huge pages would cost more memory than they save time.
_DENSE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Memory from `start` on, `length` bytes: both multiples of HUGE."""

    start: int
    length: int


def collapsible(smaps: str) -> tuple[Region, ...]:
    """The parts of the writable private anonymous memory in `smaps` that huge pages can hold, in their order.

    smaps: the text of /proc/self/smaps, or of /proc/self/maps, which does not say how much of it was touched.
    """
    found = []
    for area in _areas(smaps):
        start = -(-area.start // HUGE) * HUGE
        end = area.end // HUGE * HUGE
        if start < end and area.touched >= _DENSE * (area.end - area.start):
            found.append(Region(start=start, length=end - start))
    return tuple(found)


@dataclass(slots=True)
class _Area:
    start: int
    end: int
    touched: int


def _areas(smaps: str) -> list[_Area]:
    """The writable, private, anonymous areas, the stack left out: it grows."""
    found: list[_Area] = []
    area: _Area | None = None
    for line in smaps.splitlines():
        name, _, rest = line.partition(" ")
        if name.endswith(":"):
            if area is not None and name == "Anonymous:":
                area.touched = int(rest.split()[0]) * 1024
            continue
        fields = line.split(None, 5)
        area = None
        if len(fields) >= 5 and _is_anonymous(fields):
            start, end = (int(one, 16) for one in fields[0].split("-"))
            area = _Area(start, end, end - start)
            found.append(area)
    return found


def _is_anonymous(fields: list[str]) -> bool:
    path = fields[5] if len(fields) == 6 else ""
    return (
        fields[1][:4] == "rw-p"
        and fields[4] == "0"
        and (not path or path == "[heap]" or path.startswith("[anon:"))
    )
