"""GPUs: how many devices of which type, asked for or there; how types are named, written and matched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

ANY: Final = "any"
MOST_GPUS: Final = 16

# The families that are known, the least first: "any", and a name that says no size, take the first that is free, so
# that the large ones stay for whoever names them. The sizes are GB as they are sold; a family with one size is called
# without it.
_SIZES: Final[dict[str, tuple[int, ...]]] = {
    "P4": (8,),
    "P40": (24,),
    "P100": (12, 16),
    "T4": (16,),
    "V100": (16, 32),
    "A2": (16,),
    "A16": (16,),
    "A30": (24,),
    "A10": (24,),
    "A10G": (24,),
    "L4": (24,),
    "A40": (48,),
    "L40": (48,),
    "L40S": (48,),
    "A100": (40, 80),
    "H100": (80,),
    "GH200": (96, 144),
    "H200": (141,),
    "B200": (180,),
    "GB200": (186,),
    "B300": (288,),
}
_RANKS: Final = {family: rank for rank, family in enumerate(_SIZES)}
# What vendors put around the name that people say.
_NOISE: Final = frozenset(
    {
        "NVIDIA",
        "TESLA",
        "QUADRO",
        "GEFORCE",
        "GRAPHICS",
        "DEVICE",
        "GPU",
        "PCIE",
        "HBM2",
        "HBM2E",
        "HBM3",
        "HBM3E",
    }
    | {f"SXM{number}" for number in ("", 2, 3, 4, 5, 6)}
)
_WRITTEN: Final = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9-]{0,39})(?::(?P<count>\d{1,4}))?")
_SIZED: Final = re.compile(r"(?P<family>.+?)-(?P<size>\d{1,4})GB")
_GIB: Final = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """`count` whole devices of one type.

    type: as `type_of` and `parse_gpus` write it: "H100", "A100-80GB", "any". count: 1 to 16 where it is asked for, above
    that only for what machines have together.
    """

    type: str = ANY
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a number of GPUs is above zero, not {self.count}")

    def __str__(self) -> str:
        return self.type if self.count == 1 else f"{self.type}:{self.count}"


def parse_gpus(asked: object) -> tuple[Gpus, ...]:
    """What `gpu=` says, the first choice first: None, "H100", "A100-80GB:2", or a list of such.

    Names are case-insensitive. A name that is not known is taken as it is: a machine may have what is newer than this
    table. Raises ValueError for what is no name, a count that is not 1 to 16, a size that a known family never had.
    """
    if asked is None:
        return ()
    if isinstance(asked, str):
        return (_parse(asked),)
    if not isinstance(asked, list | tuple) or not asked:
        raise ValueError(f'gpu is a name like "H100", "A100:2", or a list of such, not {asked!r}')
    wishes = tuple(_parse(one) for one in asked)
    if len(set(wishes)) < len(wishes):
        raise ValueError(f"gpu names one choice twice: {', '.join(map(str, wishes))}")
    return wishes


def _parse(asked: object) -> Gpus:
    written = _WRITTEN.fullmatch(asked.strip()) if isinstance(asked, str) else None
    if written is None:
        raise ValueError(f'gpu is a name, or NAME:COUNT, like "H100" or "A100-80GB:2", not {asked!r}')
    count = int(written["count"] or 1)
    if not 1 <= count <= MOST_GPUS:
        raise ValueError(f"gpu={asked!r}: the count is 1 to {MOST_GPUS}, not {count}")
    name = written["name"]
    if name.lower() == ANY:
        return Gpus(count=count)
    return Gpus(type=_sized(name.upper(), asked), count=count)


def _sized(name: str, asked: object) -> str:
    """The name in the form that `type_of` gives: no size where the family has but one."""
    match = _SIZED.fullmatch(name)
    sizes = _SIZES.get(match["family"]) if match else None
    if match is None or sizes is None:
        return name
    if int(match["size"]) not in sizes:
        had = " or ".join(f"{size}" for size in sizes)
        raise ValueError(f"gpu={asked!r}: an {match['family']} has {had} GB, not {match['size']}")
    return name if len(sizes) > 1 else match["family"]


def type_of(name: str, memory_bytes: int) -> str:
    """The type of a device: the driver's name for it without what nobody says, and its size where that tells two apart.

    "NVIDIA A100-SXM4-80GB" is an A100-80GB, "NVIDIA H100 80GB HBM3" an H100. memory_bytes decides where the name says
    no size.
    """
    words = [word for word in re.split(r"[\s_/-]+", name.upper()) if word and word not in _NOISE]
    written = [int(word[:-2]) for word in words if re.fullmatch(r"\d+GB", word)]
    family = "-".join(word for word in words if not re.fullmatch(r"\d+GB", word)) or "UNKNOWN"
    sizes = _SIZES.get(family, ())
    if len(sizes) < 2:
        return family
    size = written[0] if written else round(memory_bytes / _GIB)
    nearest = min(sizes, key=lambda known: abs(known - size))
    return f"{family}-{nearest}GB"


def covers(wish: str, kind: str) -> bool:
    """Whether a device of type `kind` is what `wish` names: "any" is each, "A100" is one of either size."""
    if wish in (ANY, kind):
        return True
    match = _SIZED.fullmatch(kind)
    return match is not None and match["family"] == wish


def rank_of(kind: str) -> tuple[int, int, str]:
    """Where a type stands among all, the least first; types that are not known come last."""
    match = _SIZED.fullmatch(kind)
    family, size = (match["family"], int(match["size"])) if match else (kind, 0)
    return (_RANKS.get(family, len(_RANKS)), size, kind)


def in_words(wishes: tuple[Gpus, ...]) -> str:
    """What was asked for, for a message: "H100, else A100:2"."""
    return ", else ".join(map(str, wishes)) or "no GPU"


def added(left: tuple[Gpus, ...], right: tuple[Gpus, ...]) -> tuple[Gpus, ...]:
    """Both together, by type, in a fixed order."""
    counts = {part.type: part.count for part in left}
    for part in right:
        counts[part.type] = counts.get(part.type, 0) + part.count
    return tuple(Gpus(type=kind, count=counts[kind]) for kind in sorted(counts, key=rank_of))


def taken(left: tuple[Gpus, ...], right: tuple[Gpus, ...]) -> tuple[Gpus, ...]:
    """What is left of `left` without `right`, never below zero, in a fixed order."""
    counts = {part.type: part.count for part in left}
    for part in right:
        counts[part.type] = counts.get(part.type, 0) - part.count
    return tuple(
        Gpus(type=kind, count=counts[kind]) for kind in sorted(counts, key=rank_of) if counts[kind] > 0
    )
