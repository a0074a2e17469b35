"""Prices: what the operator of the machines charges for a second of a core, of a GiB, and of a GPU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from squall.model.errors import PricesInvalid
from squall.model.usage import Spend

OTHER: Final = "other"
"""The price of GPUs of a type that has none of its own."""

LONGEST_CURRENCY: Final = 12
_KNOWN: Final = ("currency", "core_second", "gib_second", "gpu_second")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """A price table. gpu_second: by type of GPU, as `squall status` names them."""

    currency: str = "USD"
    core_second: float = 0.0
    gib_second: float = 0.0
    gpu_second: Mapping[str, float] = field(default_factory=dict)

    def amount(self, spend: Spend, gpu_type: str = "") -> float:
        """What a spend costs."""
        gpu = self.gpu_second.get(gpu_type, self.gpu_second.get(OTHER, 0.0))
        return self.core_second * spend.cpu_paid_s + self.gib_second * spend.gib_paid_s + gpu * spend.gpu_s

    def names(self, gpu_type: str) -> bool:
        """Whether there is a price for GPUs of a type."""
        return not gpu_type or gpu_type in self.gpu_second or OTHER in self.gpu_second

    def to_json(self) -> dict[str, Any]:
        """The table as its file says it."""
        return {
            "currency": self.currency,
            "core_second": self.core_second,
            "gib_second": self.gib_second,
            "gpu_second": dict(self.gpu_second),
        }


def read_prices(plain: Mapping[str, Any], *, where: str) -> Prices:
    """The table that a file says. where: the file, for people. Raises PricesInvalid, which names what is wrong."""
    for name in plain:
        if name not in _KNOWN:
            raise PricesInvalid(
                f"{where}: there is no price {name!r}", remedy=f"a table of prices has {', '.join(_KNOWN)}"
            )
    currency = plain.get("currency", "USD")
    if (
        not isinstance(currency, str)
        or not currency.isprintable()
        or not 0 < len(currency) <= LONGEST_CURRENCY
    ):
        raise PricesInvalid(
            f"{where}: currency is a word of at most {LONGEST_CURRENCY} letters, not {currency!r}"
        )
    gpus = plain.get("gpu_second", {})
    if not isinstance(gpus, Mapping):
        raise PricesInvalid(
            f"{where}: gpu_second has a price for each type of GPU, and {gpus!r} has none",
            remedy="write a table: `[gpu_second]`, below it `H100 = 0.0011`, `other = 0.0005`",
        )
    return Prices(
        currency=currency,
        core_second=_price(plain.get("core_second", 0.0), "core_second", where),
        gib_second=_price(plain.get("gib_second", 0.0), "gib_second", where),
        gpu_second={str(name): _price(value, f"gpu_second.{name}", where) for name, value in gpus.items()},
    )


def _price(value: Any, name: str, where: str) -> float:
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or value < 0:
        raise PricesInvalid(f"{where}: {name} is a number from 0 on, not {value!r}")
    return float(value)
