"""SeaweedFS: a real service for buckets, on loopback, with all that it keeps below one directory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

import obstore
import obstore.exceptions
import pytest
from obstore.store import S3Store

from squall.blobs.s3_address import S3Address, S3Keys

KEYS = S3Keys(access_key_id="owner", secret_access_key="the-owners-secret")
READER = S3Keys(access_key_id="reader", secret_access_key="the-readers-secret")
OPEN = "open-to-all"
"""A bucket that nobody needs a key for."""
_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
)
_S3_PORTS = ("s3.port", "s3.port.grpc")
_READY_S = 60.0


@dataclass
class Seaweed:
    """The service. Ended by its process id; `start` starts it again on the same ports with the same data."""

    directory: Path
    ports: dict[str, int]
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3.port']}"

    def address(self, bucket: str, prefix: str = "", keys: S3Keys = KEYS) -> S3Address:
        return S3Address(
            bucket=bucket, prefix=prefix, endpoint=self.endpoint, region="us-east-1", patience_s=2, keys=keys
        )

    def bucket(self, name: str) -> S3Store:
        """A bucket, made where it is missing, as nobody but the tests sees it: without the store."""
        store = raw(self.address(name))
        url = obstore.sign(store, "PUT", "", timedelta(minutes=1))
        with urllib.request.urlopen(
            urllib.request.Request(url, method="PUT", data=b""), timeout=20
        ) as answer:
            assert answer.status == 200
        return store

    def start(self) -> None:
        known = [(KEYS, ["Admin"]), (READER, ["Read", "List"])]
        config = self.directory / "s3.json"
        config.write_text(
            json.dumps(
                {
                    "identities": [
                        {
                            "name": keys.access_key_id,
                            "credentials": [
                                {"accessKey": keys.access_key_id, "secretKey": keys.secret_access_key}
                            ],
                            "actions": actions,
                        }
                        for keys, actions in known
                    ]
                    + [
                        {
                            "name": "anonymous",
                            "actions": [f"{what}:{OPEN}" for what in ("Read", "List", "Write")],
                        }
                    ]
                }
            )
        )
        (self.directory / "data").mkdir(exist_ok=True)
        options = {
            "dir": self.directory / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 64,
            "volume.max": 40,
            "filer.localSocket": self.directory / "filer.sock",
            "s3.localSocket": self.directory / "s3.sock",
            "s3.config": config,
            "s3.autoCreateBucket": "false",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            **self.ports,
        }
        weed = Path(sys.executable).with_name("weed")
        with (self.directory / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [weed, "server", "-filer", "-s3", *(f"-{name}={value}" for name, value in options.items())],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(self.directory)},
                start_new_session=True,
            )
        self._until_it_serves()

    def stop(self) -> None:
        """Ends it at once: what it kept may be lost with it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
        # It has sockets for its own parts, which it puts there whatever it is told.
        for port in self.ports.values():
            for socket_path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket_path.unlink(missing_ok=True)

    def _until_it_serves(self) -> None:
        store = raw(self.address("not-there"))
        until = time.monotonic() + _READY_S
        while True:
            try:
                obstore.list_with_delimiter(store)
            except obstore.exceptions.BaseError as error:
                if "NoSuchBucket" in str(error):
                    return
                said = (self.directory / "output").read_text(errors="replace")[-2000:]
                assert self.process is not None
                assert self.process.poll() is None, said
                assert time.monotonic() < until, said
                time.sleep(0.1)


def raw(address: S3Address) -> S3Store:
    """The bucket without the store: for what a test does behind its back."""
    assert address.endpoint
    assert address.keys
    return S3Store(
        address.bucket,
        endpoint=address.endpoint,
        region="us-east-1",
        access_key_id=address.keys.access_key_id,
        secret_access_key=address.keys.secret_access_key,
        client_options={"allow_http": True, "timeout": "20s"},
        retry_config={"max_retries": 0},
    )


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Seaweed]:
    """A service of its own, until this ends."""
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as open_sockets:
        names = (*_PORTS, *_S3_PORTS)
        bound = [open_sockets.enter_context(socket.socket()) for _ in names]
        for each in bound:
            each.bind(("127.0.0.1", 0))
        ports = {name: each.getsockname()[1] for name, each in zip(names, bound, strict=True)}
    seaweed = Seaweed(directory, ports)
    try:
        seaweed.start()
        yield seaweed
    finally:
        seaweed.stop()


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """One service for all tests that need a bucket; each takes a bucket or a prefix of its own."""
    with running(tmp_path_factory.mktemp("seaweed")) as service:
        service.bucket("blobs")
        yield service


_prefixes = count()


@pytest.fixture
def address(seaweed: Seaweed) -> S3Address:
    """A place of its own in the bucket."""
    return seaweed.address("blobs", f"tests/{next(_prefixes)}")
