from __future__ import annotations

import pickle
import re

import pytest
from hypothesis import given, strategies as st

from squall.blobs.s3_address import S3Address, S3Keys, parse_s3_url
from squall.model.errors import InvalidError

KEYS = S3Keys(access_key_id="the-id", secret_access_key="the-secret", session_token="the-token")


def test_an_url_says_all_of_an_address() -> None:
    url = "s3://my.bucket-1/team/blobs/?endpoint=http://127.0.0.1:8333/&region=eu-central-1&style=virtual&patience=2.5"
    assert parse_s3_url(url, KEYS) == S3Address(
        bucket="my.bucket-1",
        prefix="team/blobs",
        endpoint="http://127.0.0.1:8333/",
        region="eu-central-1",
        virtual_hosted=True,
        patience_s=2.5,
        keys=KEYS,
    )


def test_what_an_url_leaves_out_has_a_default() -> None:
    address = parse_s3_url("s3://bucket")
    assert address == S3Address(bucket="bucket")
    assert address.root == ""
    assert address.patience_s == 30
    assert S3Address(bucket="bucket", prefix="a/b").root == "a/b/"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bucket",
        "http://bucket/",
        "s3://",
        "s3:///prefix",
        "s3://no",
        "s3://Bucket",
        "s3://a..b",
        "s3://-bucket",
        "s3://bucket:80",
        "s3://[::1",
        "s3://bucket/a//b",
        "s3://bucket/../b",
        "s3://bucket/a b",
        "s3://bucket/%2e%2e",
        "s3://bucket/" + "a" * 600,
        "s3://bucket#fragment",
        "s3://bucket?endpoint=",
        "s3://bucket?endpoint=127.0.0.1:8333",
        "s3://bucket?endpoint=ftp://host",
        "s3://bucket?endpoint=http://host:99999",
        "s3://bucket?endpoint=http://host/path",
        "s3://bucket?endpoint=http://host?x=y",
        "s3://bucket?region=",
        "s3://bucket?region=a/b",
        "s3://bucket?region=a&region=b",
        "s3://bucket?style=other",
        "s3://bucket?patience=0",
        "s3://bucket?patience=1e9",
        "s3://bucket?patience=601",
        "s3://bucket?patience=nan",
        "s3://bucket?unknown=1",
        "s3://bucket?endpoint",
    ],
)
def test_what_is_no_address_is_refused_and_says_what_to_write(url: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_s3_url(url)
    assert len(caught.value.remedy) > 10


@pytest.mark.parametrize(
    "url",
    [
        "s3://id:hunter2secret@bucket/prefix",
        "s3://bucket?secret_access_key=hunter2secret",
        "s3://bucket?endpoint=http://id:hunter2secret@host",
        "s3://bucket#hunter2secret",
        "https://id:hunter2secret@host/",
    ],
)
def test_a_secret_in_an_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_s3_url(url)
    assert "hunter2secret" not in f"{caught.value} {caught.value.remedy} {caught.value.details}"


def test_an_address_never_shows_its_secrets() -> None:
    address = parse_s3_url("s3://bucket/prefix", KEYS)
    shown = f"{address!r} {address} {KEYS!r} {KEYS}"
    assert "the-id" in shown
    assert "the-secret" not in shown
    assert "the-token" not in shown
    assert pickle.loads(pickle.dumps(address)) == address


@given(st.one_of(st.text(max_size=60), st.from_regex(r"s3://[a-z.:@/?&=#%\[\]-]{0,30}", fullmatch=True)))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_s3_url(text)
    except InvalidError:
        return
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", address.bucket)
    assert not {".", "..", ""} & set(address.prefix.split("/") if address.prefix else [])
