"""How fast a bucket is read and written through a mount, against the library that speaks to the same bucket by itself."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore

import squall
from measure import Samples, Turn, report, results_of, say

MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--mib", type=int, default=64, help="how large the object is")
    given = parser.parse_args()
    # Not at the top: containers load this file too, and have no tests.
    sys.path.insert(0, str(Path(__file__).parents[1]))
    seaweed = importlib.import_module("tests.seaweed")
    repeats, size = 3 if given.quick else 7, given.mib * MIB
    with tempfile.TemporaryDirectory() as folder, seaweed.running(Path(folder) / "s3") as service:
        service.bucket("bench")
        say("through a mount")
        turns = {"squall": [Turn(samples=_through_a_mount(service.endpoint, seaweed.KEYS, size, repeats))]}
        say("by the library")
        store = seaweed.raw(service.address("bench"))
        turns["obstore"] = [Turn(samples=_by_the_library(store, size, repeats))]
    units = {"write_mib_per_s": "MiB/s", "read_mib_per_s": "MiB/s"}
    report(results_of(turns, units), reference="obstore", json_too=given.json)


def _rates(size: int, repeats: int, work: Callable[[int], float]) -> list[float]:
    return [size / MIB / work(number) for number in range(repeats)]


def _by_the_library(store: Any, size: int, repeats: int) -> Samples:
    data = os.urandom(size)

    def write(number: int) -> float:
        began = time.perf_counter()
        obstore.put(store, f"by-itself-{number}", data, chunk_size=8 * MIB)
        return time.perf_counter() - began

    def read(number: int) -> float:
        began = time.perf_counter()
        taken = sum(map(len, obstore.get(store, f"by-itself-{number}").stream(min_chunk_size=MIB)))
        assert taken == size
        return time.perf_counter() - began

    return {"write_mib_per_s": _rates(size, repeats, write), "read_mib_per_s": _rates(size, repeats, read)}


def _through_a_mount(endpoint: str, keys: Any, size: int, repeats: int) -> Samples:
    app = squall.App("bench-buckets")
    mount = squall.CloudBucketMount(
        "bench",
        bucket_endpoint_url=endpoint,
        secret=squall.Secret.from_dict(
            {"AWS_ACCESS_KEY_ID": keys.access_key_id, "AWS_SECRET_ACCESS_KEY": keys.secret_access_key}
        ),
    )

    @app.function(serialized=True, volumes={"/data": mount}, cpu=1, max_containers=1)
    def write(number: int, size: int) -> float:
        data = os.urandom(1 << 20)
        began = time.perf_counter()
        with open(f"/data/mounted-{number}", "wb", buffering=0) as file:
            file.writelines(data for _ in range(size >> 20))
        return time.perf_counter() - began

    @app.function(serialized=True, volumes={"/data": mount}, cpu=1, max_containers=1)
    def read(number: int) -> float:
        began = time.perf_counter()
        with open(f"/data/mounted-{number}", "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
        return time.perf_counter() - began

    with app.run():
        write.remote(repeats, MIB)
        read.remote(repeats)
        return {
            "write_mib_per_s": _rates(size, repeats, lambda number: write.remote(number, size)),
            "read_mib_per_s": _rates(size, repeats, read.remote),
        }


if __name__ == "__main__":
    main()
