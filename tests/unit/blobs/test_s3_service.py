"""What a service says that is full, busy, broken or old: answered by a stand-in, as no real one is so on demand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from squall.blobs.digest import digest_of
from squall.blobs.s3_address import S3Address, S3Keys
from squall.blobs.s3_blobs import S3Blobs
from squall.model.errors import BucketBusy, BucketFailed, BucketFull, BucketRefused, Error

SECRET = "a-secret-that-came-back"


class StandIn(BaseHTTPRequestHandler):
    """Answers every request alike, or like a service that knows no conditions."""

    status, code = 200, ""
    asked: tuple[str, ...] = ()

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        cls = type(self)
        cls.asked += (f"{self.command} {self.headers.get('If-None-Match', '')}".strip(),)
        plain = cls.code == "NotImplemented" and not self.headers.get("If-None-Match")
        body = (
            b""
            if plain
            else f"<Error><Code>{cls.code}</Code><Message>no: {SECRET}</Message></Error>".encode()
        )
        self.send_response(200 if plain else cls.status)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = answer  # noqa: N815 - the names that the library calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the same
        """Says nothing."""


@contextmanager
def standing_in(status: int, code: str) -> Iterator[tuple[S3Address, type[StandIn]]]:
    answers = type("Answers", (StandIn,), {"status": status, "code": code})
    server = ThreadingHTTPServer(("127.0.0.1", 0), answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    keys = S3Keys(access_key_id="key", secret_access_key=SECRET)
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield S3Address(bucket="blobs", endpoint=endpoint, region="r", patience_s=1, keys=keys), answers
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDown", BucketBusy),
        (429, "TooManyRequests", BucketBusy),
        (507, "XMinioStorageFull", BucketFull),
        (403, "QuotaExceeded", BucketFull),
        (403, "ExpiredToken", BucketRefused),
        (500, "InternalError", BucketFailed),
        (400, "AuthorizationHeaderMalformed", BucketRefused),
        (418, "", BucketFailed),
    ],
)
def test_what_a_service_says_is_named_and_says_what_to_do(status: int, code: str, kind: type[Error]) -> None:
    async def run(address: S3Address) -> None:
        store = S3Blobs(address)
        for doing in (store.put(b"x"), store.get(digest_of(b"x"))):
            with pytest.raises(kind) as caught:
                await doing
            assert type(caught.value) is kind
            assert caught.value.details["bucket"] == "blobs"
            assert SECRET not in str(caught.value)
            assert code in str(caught.value)
        await store.close()

    with standing_in(status, code) as (address, answers):
        asyncio.run(run(address))
        # What may pass is tried more often than once.
        assert (len(answers.asked) > 2) == (status in {429, 500, 503, 507})


def test_a_service_without_conditions_is_asked_for_one_once() -> None:
    async def run(address: S3Address) -> None:
        store = S3Blobs(address)
        for data in (b"first", b"second"):
            await store.put(data)
        await store.close()

    with standing_in(501, "NotImplemented") as (address, answers):
        asyncio.run(run(address))
        assert [asked for asked in answers.asked if asked == "PUT"] == ["PUT", "PUT"]
        assert "PUT *" in answers.asked
        assert answers.asked[-2:] == ("PUT", "PUT")
