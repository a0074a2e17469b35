"""Buckets where whoever runs Squall is an ordinary user: with the device that mounts need, and without it."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

from tests.end_to_end.terminal import fresh_folder
from tests.end_to_end.test_host_rows import DROP, USER, a_house, copy_sources, make_venv
from tests.seaweed import OPEN, Seaweed

pytestmark = [pytest.mark.needs("linux", "root", "namespaces", "fuse"), pytest.mark.timeout(240)]

PROGRAM = """
import os
import squall

app = squall.App("of-a-user")
mount = squall.CloudBucketMount({bucket!r}, bucket_endpoint_url={endpoint!r}, key_prefix="user/")

@app.function(volumes={{"/data": mount}}, single_use_containers=True)
def look(number):
    with open(f"/data/n{{number}}", "w") as file:
        file.write("written")
    return sorted(os.listdir("/data")), os.stat("/data/one").st_uid

@app.local_entrypoint()
def main():
    import time
    for number in range(3):
        print("FOUND", look.remote(number))
        time.sleep(1.5)
"""


@pytest.fixture(scope="module")
def outside() -> Iterator[tuple[str, Path]]:
    """An interpreter outside every home, with the library for buckets, and our sources."""
    found = shutil.which(f"python{sysconfig.get_python_version()}", path="/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip(
            "needs root: and an interpreter of this version in /usr/bin, for the ordinary user's part"
        )
    folder = fresh_folder(below="/var/tmp")
    try:
        python = make_venv(found, folder / "venv")
        packages = next((folder / "venv").glob("lib/python3*/site-packages"))
        shutil.copytree(Path(obstore.__file__).parent, packages / "obstore")
        yield python, copy_sources(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def open_device() -> Iterator[tuple[str, ...]]:
    """What commands are run through where everybody may open the device, as on most machines."""
    folder = fresh_folder(below="/var/tmp")
    device = folder / "fuse"
    os.mknod(device, 0o020666, os.makedev(10, 229))
    device.chmod(0o666)
    show = f'mount --bind {device} /dev/fuse; exec "$@"'
    try:
        yield ("unshare", "-m", "sh", "-c", show, "sh", *DROP)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(wrapper: tuple[str, ...], outside: tuple[str, Path], seaweed: Seaweed) -> Any:
    python, sources = outside
    with a_house(python, sources, owner=USER, wrapper=wrapper) as (terminal, program):
        program.write_text(PROGRAM.format(bucket=OPEN, endpoint=seaweed.endpoint))
        return terminal.squall("run", str(program), within_s=120, cwd=program.parent)


def test_an_ordinary_users_containers_have_buckets(
    open_device: tuple[str, ...], outside: tuple[str, Path], seaweed: Seaweed
) -> None:
    store = seaweed.bucket(OPEN)
    obstore.put(store, "user/one", b"1")
    said = run(open_device, outside, seaweed)
    assert said.status == 0, said
    assert "FOUND (['n0', 'n1', 'n2', 'one'], 0)" in said.out, said
    assert bytes(obstore.get(store, "user/n2").bytes()) == b"written"


def test_without_the_device_that_is_said(outside: tuple[str, Path], seaweed: Seaweed) -> None:
    said = run(DROP, outside, seaweed)
    assert said.status != 0, said
    assert "SQ-1961" in said.out + said.err, said
    assert "/dev/fuse" in said.out + said.err, said
