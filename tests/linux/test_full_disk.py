"""A disk that is really full, and one that is really read-only: errors with a name, and nothing half written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import squall

SOURCE = Path(squall.__file__).parent.parent

PRELUDE = """
import asyncio, os, pathlib, subprocess, sys
root = pathlib.Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", root], check=True)
from squall.model.errors import DiskFull, StateDirectoryReadOnly

def fill(leave):
    "Takes all room but so many bytes, rounded to pages."
    path = root / "ballast"
    room = os.statvfs(root)
    size = room.f_bavail * room.f_frsize - leave
    path.write_bytes(bytes(max(0, size)))
    return path

def read_only(also=""):
    # The options of the mount name ids of the host, which do not exist in this user namespace: leave them alone.
    subprocess.run(["mount", "--options-mode", "ignore", "-o", "remount,ro" + also, root], check=True)
"""

RECORD = """
from squall.model.call import Verb
from squall.state.records import CallRecord, InputChunk
from squall.state.sqlite_state import SqliteState

def call(name):
    return CallRecord(id=name, function="fu", verb=Verb.SPAWN, created_s=1.0, inputs=1)

chunk = InputChunk(start=0, lengths=(100_000,), payload=b"x" * 100_000)

async def run():
    state = await SqliteState.open(root / "state" / "squall.db")
    await state.record_call(call("fc-first"), [chunk])
    ballast = fill(300_000)
    kept = ["fc-first"]
    try:
        for number in range(50):
            await state.record_call(call(f"fc-{number:02}"), [chunk])
            kept.append(f"fc-{number:02}")
        raise SystemExit("the disk took everything")
    except DiskFull as error:
        assert error.code == "SQ-1403" and str(root) in str(error), error
    assert [str(one.call.id) for one in await state.open_calls()] == kept
    ballast.unlink()
    await state.record_call(call("fc-last"), [chunk])
    await state.close()
    state = await SqliteState.open(root / "state" / "squall.db")
    assert [str(one.call.id) for one in await state.open_calls()] == [*kept, "fc-last"]
    await state.close()
    fill(0)
    try:
        await SqliteState.open(root / "other" / "squall.db")
        raise SystemExit("a record was made without room")
    except DiskFull:
        pass
    (root / "ballast").unlink()
    read_only()
    for directory in ("state", "new"):
        try:
            await SqliteState.open(root / directory / "squall.db")
            raise SystemExit("a record was opened where nothing can be written")
        except StateDirectoryReadOnly as error:
            assert error.code == "SQ-1900", error
asyncio.run(run())
"""

BLOBS = """
from squall.blobs.checkout import Checkouts
from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import digest_of
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.local_files import LocalFile, local_manifest
from squall.blobs.manifest_bytes import encode

async def parts(data):
    for start in range(0, len(data), 65536):
        yield data[start : start + 65536]

async def run():
    blobs = await DiskBlobs.open(root / "blobs")
    checkouts = await Checkouts.open(root / "trees", DirectoryRenderer(blobs))
    data = os.urandom(CHUNK_BYTES)
    files = [LocalFile(path=f"f{n}", size=len(data), chunks=(digest_of(data),)) for n in range(16)]
    await blobs.put(data)
    digest = await blobs.put(encode(local_manifest(files)))
    ballast = fill(1_000_000)
    large = os.urandom(2_000_000)
    for doing in (blobs.put(large), blobs.put(parts(large)), checkouts.checkout(digest)):
        try:
            await doing
            raise SystemExit("the disk took everything")
        except DiskFull as error:
            assert error.code == "SQ-1403", error
    assert not list((root / "blobs" / "incoming").iterdir())
    assert not list((root / "trees" / "staging").iterdir())
    assert await blobs.has_many([digest_of(large)]) == frozenset()
    assert await blobs.get(digest_of(data)) == data
    ballast.unlink()
    small = await blobs.put(encode(local_manifest(files[:1])))
    assert ((await checkouts.checkout(small)) / "f0").read_bytes() == data
    read_only()
    try:
        await blobs.put(b"more")
        raise SystemExit("a read-only disk took a blob")
    except StateDirectoryReadOnly:
        pass
    assert await blobs.get(digest_of(data)) == data
asyncio.run(run())
"""

LOGS = """
from squall.state.log_lines import LogEntry, LogStream
from squall.state.log_store import LogStore

def said(text):
    return LogEntry(at_s=1.0, container="co", function="fu", stream=LogStream.STDOUT, text=text)

async def run():
    logs = await LogStore.open(root / "logs")
    logs.append("ap-1", [said("before")])
    await logs.flush()
    ballast = fill(50_000)
    for number in range(20):
        logs.append("ap-1", [said(str(number) * 20_000)])
        await logs.flush()
    assert logs.lost > 0
    ballast.unlink()
    logs.append("ap-1", [said("after")])
    texts = [entry.text async for entry in logs.read("ap-1")]
    assert texts[0] == "before" and "after" in texts, texts
    assert any(f"{logs.lost} log entries before" in text for text in texts), (logs.lost, texts[-2:])
asyncio.run(run())
"""

VOLUMES = """
from squall.blobs.digest import digest_of
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.manifest import ROOT, Attributes, Directory, File, Manifest, Part
from squall.blobs.manifest_bytes import encode
from squall.server.volumes import Commit, Volumes
from squall.state.sqlite_state import SqliteState

def layer(number):
    # Long names, so that the manifest of a version is what does not fit.
    chunk = digest_of(b"x")
    files = [
        File(path=f"{number:03}-{at:03}-" + os.urandom(100).hex(), attributes=Attributes(mode=0o644),
             size=1, parts=(Part(chunk=chunk, offset=0, length=1),))
        for at in range(50)
    ]
    return encode(Manifest((Directory(path=ROOT, attributes=Attributes(mode=0o755)), *files)))

async def run():
    blobs = await DiskBlobs.open(root / "blobs")
    state = await SqliteState.open(root / "state" / "squall.db")
    volumes = Volumes(state, blobs)
    of = (await volumes.find("main", "data", create=True)).id
    await blobs.put(b"x")

    async def commit(number):
        head = await volumes.head(of)
        changes = await blobs.put(layer(number))
        asked = Commit(volume=of, id=f"cm-{number}", base=head.number, changes=changes)
        return (await volumes.commit(asked)).number

    assert await commit(0) == 1
    ballast = fill(400_000)
    made = 1
    try:
        for number in range(1, 50):
            made = await commit(number)
        raise SystemExit("the disk took everything")
    except DiskFull as error:
        assert error.code == "SQ-1403" and str(root) in str(error), error
    head = await volumes.head(of)
    assert head.number == made, (head, made)
    assert len((await Volumes(state, blobs).trees.get(head.manifest)).entries) == 1 + 50 * made
    ballast.unlink()
    assert await commit(100) == made + 1
    await state.close()
asyncio.run(run())
"""


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize("what", ["record", "blobs", "logs", "volumes"])
def test_a_full_or_read_only_disk_is_named_and_loses_nothing_that_was_acknowledged(
    what: str, tmp_path: Path
) -> None:
    script = PRELUDE + {"record": RECORD, "blobs": BLOBS, "logs": LOGS, "volumes": VOLUMES}[what]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
