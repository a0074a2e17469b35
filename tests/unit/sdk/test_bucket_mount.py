"""CloudBucketMount: what it says of a bucket, and what is refused where it is written."""

from __future__ import annotations

from typing import Any

import pytest

import squall
from squall.model.bucket_mount import BucketMount
from squall.model.errors import BucketMountInvalid, BucketMountUnavailable, InvalidError
from squall.model.function import Function
from squall.model.jsonable import from_json, to_json

KEYS = squall.Secret.from_dict({"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "canary"})


def declared(volumes: dict[str, Any]) -> Any:
    app = squall.App("buckets")
    return app.function(name="f", volumes=volumes)(lambda: None).declared


def test_a_function_says_which_buckets_it_has_and_never_their_keys() -> None:
    mount = squall.CloudBucketMount(
        "bucket", bucket_endpoint_url="http://127.0.0.1:9/", key_prefix="a/b/", secret=KEYS, read_only=True
    )
    found = declared({"/data/": mount})
    (noun,) = found.noun.buckets
    assert (noun.path, noun.bucket, noun.prefix, noun.endpoint) == (
        "/data",
        "bucket",
        "a/b",
        "http://127.0.0.1:9",
    )
    assert noun.read_only
    assert noun.secret is not None
    assert noun.secret.key
    assert KEYS in found.secrets
    assert found.noun.secrets == ()
    assert "canary" not in repr(found.noun)
    assert from_json(Function, to_json(found.noun)) == found.noun


def test_a_secret_with_a_name_must_have_the_keys() -> None:
    named = squall.CloudBucketMount("bucket", secret=squall.Secret.from_name("keys"))
    (noun,) = declared({"/data": named}).noun.buckets
    assert noun.secret is not None
    assert noun.secret.required == ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def test_other_options_bring_other_buckets_whose_secrets_have_names() -> None:
    app = squall.App("buckets")
    function = app.function(name="f")(lambda: None)
    other = function.with_options(volumes={"/data": squall.CloudBucketMount("bucket")})
    assert other is not function
    with pytest.raises(InvalidError, match="have a name"):
        function.with_options(volumes={"/data": squall.CloudBucketMount("bucket", secret=KEYS)})


def test_a_record_without_buckets_is_read() -> None:
    plain = to_json(declared({}).noun)
    assert "buckets" not in plain
    assert from_json(Function, plain).buckets == ()


def test_nothing_is_mounted_over_what_containers_need() -> None:
    for path in ("/", "/etc", "/proc", "/usr", "data", "/a/../b", "/a//b", "/" + "x" * 600):
        with pytest.raises(ValueError, match=r"mounted|path"):
            BucketMount(path=path, bucket="bucket")


def test_what_cannot_be_is_refused_where_it_is_written() -> None:
    with pytest.raises(BucketMountUnavailable, match="oidc_auth_role_arn"):
        squall.CloudBucketMount("bucket", oidc_auth_role_arn="arn:aws:iam::1:role/x")
    wrong: tuple[dict[str, Any], ...] = (
        {"bucket_name": "No_Bucket"},
        {"bucket_name": "bucket", "key_prefix": "no-slash"},
        {"bucket_name": "bucket", "key_prefix": "up/../there/"},
        {"bucket_name": "bucket", "bucket_endpoint_url": "http://user:canary@host"},
        {"bucket_name": "bucket", "requester_pays": True},
        {"bucket_name": "bucket", "secret": squall.Secret.from_dict({"AWS_ACCESS_KEY_ID": "x"})},
    )
    for options in wrong:
        with pytest.raises(BucketMountInvalid) as caught:
            squall.CloudBucketMount(**options)
        assert "canary" not in str(caught.value)
    app = squall.App("wrong")
    one = squall.CloudBucketMount("bucket")
    for mounts in (
        {"data": one},
        {"/data": one, "/data/below": one},
        {"/": one},
        {"/etc": one},
        {"/data": 3},
    ):
        with pytest.raises(InvalidError):
            app.function(name="f", volumes=mounts)(lambda: None)
