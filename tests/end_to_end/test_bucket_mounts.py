"""Buckets as folders of containers: read, written, listed, and what happens where that cannot be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

import squall
from tests.end_to_end.conftest import House
from tests.seaweed import OPEN, Seaweed

pytestmark = [pytest.mark.needs("linux", "fuse"), pytest.mark.timeout(180)]


def look(folder: str) -> dict[str, Any]:
    """Every file below a folder, and what it holds."""
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            path = Path(at, name)
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def store(seaweed: Seaweed) -> Any:
    return seaweed.bucket(OPEN)


@pytest.fixture(scope="module")
def running(at_home: House, seaweed: Seaweed, store: Any) -> Iterator[Any]:
    app = squall.App("buckets")
    mount = squall.CloudBucketMount(OPEN, bucket_endpoint_url=seaweed.endpoint, key_prefix="shown/")

    @app.function(serialized=True, volumes={"/data": mount}, max_containers=1)
    def do(code: str) -> Any:
        names: dict[str, Any] = {}
        exec(code, names)
        return names.get("found")

    with app.run():
        yield do


def test_a_container_sees_what_lies_below_the_prefix_and_nothing_else(running: Any, store: Any) -> None:
    obstore.put(store, "shown/a/b.txt", b"hello")
    obstore.put(store, "hidden", b"no")
    found = running.remote(
        "import os\nfound = sorted(os.listdir('/data')), open('/data/a/b.txt').read(), os.stat('/data/a/b.txt').st_uid"
    )
    assert found == (["a"], "hello", 0)
    for _ in range(5):
        assert running.remote("open('/data/w.txt','w').write('written')") is None
        assert bytes(obstore.get(store, "shown/w.txt").bytes()) == b"written"
