from __future__ import annotations

import asyncio
import hashlib
import http.server
from collections.abc import Iterator

import pytest

from squall.blobs.digest import Digest, digest_of
from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.download import Fetched, download
from squall.images.registry.patience import Patience
from squall.model.errors import ImageDownloadError
from tests.http_server import http_server

DATA = bytes(range(256)) * 4096
QUICK = Patience(tries=3, connect_s=2, answer_s=2, silence_s=1, first_pause_s=0.01)


class _Pages(http.server.BaseHTTPRequestHandler):
    """Each path is something that a server may do."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        match self.path.split("?")[0]:
            case "/file" | "/a/b":
                self._give(200, DATA)
            case "/led":
                self._give(302, b"", location="/a/b")
            case "/round":
                self._give(302, b"", location="/round")
            case "/out":
                self._give(302, b"", location="ftp://elsewhere/x")
            case "/inward":
                self._give(302, b"", location="http://169.254.169.254/latest/meta-data")
            case "/busy":
                self._give(200 if self.asked.count(self.path) > 2 else 503, DATA)
            case "/breaks":
                self._give(200, DATA if self.asked.count(self.path) > 1 else DATA[:1000], said=len(DATA))
            case "/short":
                self._give(200, DATA[:1000], said=len(DATA))
            case _:
                self._give(404, b"no")

    def _give(self, status: int, data: bytes, *, location: str = "", said: int | None = None) -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(data) if said is None else said))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(name="address")
def _address() -> Iterator[str]:
    _Pages.asked = []
    with http_server(_Pages) as address:
        yield f"http://{address}"


def fetch(address: str, blobs: MemoryBlobs, wanted: Digest | None = None) -> Fetched:
    return asyncio.run(download(address, blobs, {}, wanted=wanted, patience=QUICK))


async def kept(blobs: MemoryBlobs) -> list[str]:
    return [blob.digest async for blob in blobs.blobs()]


@pytest.mark.parametrize("path", ["/file", "/file?x=1", "/led", "/busy", "/breaks"])
def test_a_file_is_kept_however_the_server_comes_to_give_it(address: str, path: str) -> None:
    blobs = MemoryBlobs()
    wanted = digest_of(DATA)
    assert fetch(address + path, blobs, wanted) == Fetched(wanted, len(DATA))
    assert asyncio.run(blobs.get(wanted)) == DATA


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/nothing?secret=hunter2", "the status 404"),
        ("/round", "leads on more than"),
        ("/out", "neither http nor https"),
        ("/inward", "leads from there to plain http"),
        ("/short", "too early"),
    ],
)
def test_what_cannot_be_had_is_told_and_nothing_is_kept(address: str, path: str, why: str) -> None:
    blobs = MemoryBlobs()
    with pytest.raises(ImageDownloadError, match=why) as refused:
        fetch(address + path, blobs)
    assert "hunter2" not in str(refused.value)
    assert refused.value.remedy
    assert asyncio.run(kept(blobs)) == []


def test_another_file_than_was_meant_is_refused(address: str) -> None:
    blobs = MemoryBlobs()
    with pytest.raises(ImageDownloadError, match=hashlib.sha256(DATA).hexdigest()) as refused:
        fetch(f"{address}/file", blobs, digest_of(b"another"))
    assert "do not use it" in refused.value.remedy
    assert asyncio.run(kept(blobs)) == []
    assert len(_Pages.asked) == 1


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(ImageDownloadError, match=r"http://127\.0\.0\.1:1 could not be downloaded"):
        fetch("http://127.0.0.1:1/x", MemoryBlobs())
