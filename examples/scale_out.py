"""Scale out: count the primes below five hundred million, as 1,000 inputs over as many containers as there are cores."""

import functools
import math
import os
import time
from collections import Counter
from dataclasses import dataclass

import squall

app = squall.App("scale-out")

LIMIT = 500_000_000
PRIMES_BELOW_LIMIT = 26_355_867
CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Counted:
    primes: int
    cpu_s: float
    where: str


@functools.cache
def small_primes(limit: int) -> list[int]:
    """All primes up to `limit`; found once a container, as every input needs the same ones."""
    flags = bytearray([1]) * (limit + 1)
    flags[:2] = b"\0\0"
    for number in range(2, math.isqrt(limit) + 1):
        if flags[number]:
            flags[number * number :: number] = bytes(len(range(number * number, limit + 1, number)))
    return [number for number, prime in enumerate(flags) if prime]


@app.function(cpu=1, memory=256, max_containers=CORES)
def count_primes(start: int, stop: int) -> Counted:
    began = time.process_time()
    flags = bytearray([1]) * (stop - start)
    for prime in small_primes(math.isqrt(LIMIT)):
        first = max(prime * prime, -(-start // prime) * prime) - start
        if first < len(flags):
            flags[first::prime] = bytes(len(range(first, len(flags), prime)))
    primes = sum(flags) - sum(flags[: max(0, 2 - start)])  # 0 and 1 are none
    container = os.environ.get("SQUALL_CONTAINER", "no container")
    return Counted(primes, time.process_time() - began, f"{container}, process {os.getpid()}")


@app.local_entrypoint()
def main(inputs: int = 1_000) -> None:
    step = -(-LIMIT // inputs)
    pieces = [(start, min(start + step, LIMIT)) for start in range(0, LIMIT, step)]
    began = time.monotonic()
    answers = list(count_primes.starmap(pieces))
    makespan_s = time.monotonic() - began

    shares = Counter(answer.where for answer in answers)
    for where, share in sorted(shares.items()):
        print(f"{share:6,} inputs answered by {where}")
    serial_s = sum(answer.cpu_s for answer in answers)
    print(
        f"{len(answers):,} inputs in {makespan_s:.2f} s, {serial_s:.2f} s of work: {serial_s / makespan_s:.1f} x"
    )
    found = sum(answer.primes for answer in answers)
    print(f"{found:,} primes below {LIMIT:,} from {len(shares)} containers")
    if found != PRIMES_BELOW_LIMIT:
        raise SystemExit(f"there are {PRIMES_BELOW_LIMIT:,} of them")
