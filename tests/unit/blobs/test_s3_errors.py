from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from squall.blobs.s3_errors import bucket_error
from squall.model.errors import (
    BucketBusy,
    BucketFailed,
    BucketFull,
    BucketMissing,
    BucketRefused,
    BucketUnreachable,
    Error,
)


def said(status: str, code: str, message: str = "why") -> str:
    return (
        f"Error performing PUT http://host/bucket/key - Server returned non-2xx status code: {status}: "
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (said("404 Not Found", "NoSuchBucket"), BucketMissing),
        (said("503 Slow Down", "SlowDown"), BucketBusy),
        (said("503 Service Unavailable", ""), BucketBusy),
        (said("403 Forbidden", "QuotaExceeded"), BucketFull),
        (said("507 Insufficient Storage", ""), BucketFull),
        (said("403 Forbidden", "SignatureDoesNotMatch"), BucketRefused),
        (said("403 Forbidden", ""), BucketRefused),
        (
            "Error performing PUT http://169.254.169.254/latest/api/token - error sending request",
            BucketRefused,
        ),
        ("HTTP error: error sending request", BucketUnreachable),
        ("HTTP error: operation timed out", BucketUnreachable),
        (said("500 Internal Server Error", "InternalError"), BucketFailed),
        ("no word that anybody knows", BucketFailed),
    ],
)
def test_what_was_said_has_a_name(text: str, kind: type[Error]) -> None:
    error = bucket_error(text, "my-bucket")
    assert type(error) is kind
    assert "my-bucket" in str(error)


@given(st.text(max_size=300), st.sampled_from(["the-secret", "sEcReT/+="]))
def test_any_words_have_a_name_and_hold_no_secret(text: str, secret: str) -> None:
    error = bucket_error(said("500 x", "Code", secret + text) + secret + text, "bucket", [secret])
    assert secret not in str(error)
    assert len(str(error)) < 500
