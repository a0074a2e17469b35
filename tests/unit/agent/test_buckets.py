"""Buckets of a node: which service a mount names, and with which keys it is opened."""

from __future__ import annotations

import pytest

from squall.agent.buckets import source_of
from squall.blobs.buckets.source import Source, endpoint_of
from squall.model.bucket_mount import BucketMount
from squall.model.errors import BucketRefused

MOUNT = BucketMount(path="/data", bucket="my-bucket", prefix="a/b", requester_pays=True)
VARIABLES = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "canary", "AWS_SESSION_TOKEN": "token"}


def test_a_source_goes_through_a_pipe_and_comes_back_whole() -> None:
    source = source_of(MOUNT, {**VARIABLES, "AWS_REGION": "eu-central-1"})
    assert Source.from_json(source.to_json()) == source
    assert source.address.requester_pays
    assert source.address.region == "eu-central-1"
    assert "canary" not in repr(source)
    assert "token" not in repr(source)


def test_without_a_secret_nothing_is_signed_and_no_key_of_the_machine_is_used() -> None:
    source = source_of(MOUNT, {})
    assert source.address.anonymous
    assert source.address.keys is None


def test_half_a_key_is_none() -> None:
    with pytest.raises(BucketRefused) as caught:
        source_of(MOUNT, {"AWS_ACCESS_KEY_ID": "id"})
    assert "AWS_SECRET_ACCESS_KEY" in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "path_style", "found"),
    [
        (None, False, (None, True)),
        (None, True, (None, False)),
        ("https://s3.example.com", False, ("https://my-bucket.s3.example.com", True)),
        ("https://s3.example.com:9000", False, ("https://my-bucket.s3.example.com:9000", True)),
        ("https://s3.example.com", True, ("https://s3.example.com", False)),
        ("http://127.0.0.1:8333", False, ("http://127.0.0.1:8333", False)),
        ("http://[::1]:8333", False, ("http://[::1]:8333", False)),
        ("http://localhost:8333", False, ("http://localhost:8333", False)),
    ],
)
def test_a_bucket_is_named_by_its_host_where_that_can_be(
    endpoint: str | None, path_style: bool, found: tuple[str | None, bool]
) -> None:
    assert endpoint_of("my-bucket", endpoint, force_path_style=path_style) == found
