"""A bucket's folder: whatever is done with it, it is what a tree of files would be."""

from __future__ import annotations

import itertools
from typing import Any

import obstore
import pytest
from hypothesis import HealthCheck, settings

from squall.blobs.buckets.bucket import Bucket
from squall.blobs.buckets.memory_bucket import MemoryBucket
from squall.blobs.buckets.s3_bucket import S3Bucket
from tests.property.bucket_machine import BucketMachine
from tests.seaweed import Seaweed

_prefixes = itertools.count()


class InMemory(BucketMachine):
    def bucket(self) -> tuple[Bucket, str]:
        self.memory = MemoryBucket()
        self.memory.objects = {"outside": b"", "shownot/x": b"", "show": b""}
        return self.memory, "shown"

    def objects(self) -> dict[str, bytes]:
        outside = {"outside", "shownot/x", "show"}
        assert outside <= self.memory.objects.keys()
        return {
            key.removeprefix("shown/"): data
            for key, data in self.memory.objects.items()
            if key not in outside
        }


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.timeout(300)
def test_a_service_that_is_real_makes_no_difference(seaweed: Seaweed) -> None:
    store: Any = seaweed.bucket("played-with")

    class OfService(BucketMachine):
        def bucket(self) -> tuple[Bucket, str]:
            self.prefix = f"run{next(_prefixes)}"
            return S3Bucket(seaweed.address("played-with")), self.prefix

        def objects(self) -> dict[str, bytes]:
            rows = [row["path"] for page in obstore.list(store, self.prefix) for row in page]
            return {path.partition("/")[2]: bytes(obstore.get(store, path).bytes()) for path in rows}

    OfService.TestCase.settings = settings(
        max_examples=3, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
    OfService.TestCase().runTest()
