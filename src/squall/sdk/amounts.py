"""Amounts: what users ask of a machine and allow, as numbers or as pairs of a request and a limit."""

from __future__ import annotations

from squall.model.resources import Limits, Resources

Amount = float | tuple[float, float] | None
"""Cores, or MiB: a request, or (request, limit)."""


def asks_of(cpu: Amount, memory: Amount, otherwise: Resources) -> Resources:
    """What is requested; of what is not said, as much as `otherwise`. Raises ValueError that names the option."""
    cores, _ = pair("cpu", cpu)
    mib, _ = pair("memory", memory)
    return Resources(
        cpu_milli=otherwise.cpu_milli if cores is None else max(1, round(cores * 1000)),
        memory_mib=otherwise.memory_mib if mib is None else max(1, round(mib)),
    )


def limits_of(cpu: Amount, memory: Amount, disk_mib: int | None = None) -> Limits:
    """What may be used at most: of memory never more than is requested, unless a pair says so. Raises ValueError as above."""
    _, cores = pair("cpu", cpu)
    request, most = pair("memory", memory)
    bound = most if most is not None else request
    return Limits(
        cpu_milli=None if cores is None else max(1, round(cores * 1000)),
        memory_mib=None if bound is None else max(1, round(bound)),
        disk_mib=disk_mib,
    )


def pair(what: str, amount: Amount) -> tuple[float | None, float | None]:
    """The request and the limit. Raises ValueError that names the option."""
    if amount is None:
        return None, None
    request, limit = amount if isinstance(amount, tuple) and len(amount) == 2 else (amount, None)
    for one in (request, limit):
        if one is not None and (
            isinstance(one, bool) or not isinstance(one, int | float) or not 0 < one < 2**40
        ):
            raise ValueError(f"{what} is a number above 0, or a pair (request, limit), not {amount!r}")
    if request is None:
        raise ValueError(f"{what} is a number above 0, or a pair (request, limit), not {amount!r}")
    if limit is not None and limit < request:
        raise ValueError(f"{what}: the limit {limit} is below the request {request}")
    return request, limit
