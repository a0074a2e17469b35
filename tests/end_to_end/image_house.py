"""Image house: small images in a registry, and what tests of `squall image` do with them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.snapshot import snapshot
from squall.images.oci.nouns import ImageConfig, Platform
from squall.images.registry.client import RegistryClient
from squall.images.registry.credentials import Keychain, Login
from squall.images.registry.reference import parse_reference
from squall.images.remote import push_image
from tests.end_to_end.terminal import Said, Terminal

STEPS = Path(__file__).parent / "programs" / "build_steps.py"
CONFIG = ImageConfig(
    platform=Platform(os="linux", architecture=os.uname().machine),
    diff_ids=(),
    env=(("PATH", "/bin"), ("GREETING", "hello there")),
    cmd=("/bin/sh",),
    workdir="/srv",
)


def tiny_root(top: Path) -> Path:
    """A root in which a shell runs, and nothing else."""
    shell = Path("/bin/sh").resolve()
    _copy_libraries(shell, top)
    for name in ("bin", "srv", "etc", "tmp"):
        (top / name).mkdir(exist_ok=True)
    shutil.copy(shell, top / "bin" / "sh")
    return top


def python_root(top: Path) -> Path:
    """The same with the libraries of the Python that runs this, so that a copy of it runs there: `add_python`."""
    _copy_libraries(Path(sys.executable).resolve(), tiny_root(top))
    return top


def _copy_libraries(program: Path, top: Path) -> None:
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(/\S+) \(", listed):
        target = top / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def fill(address: str, name: str, top: Path, login: Login | None = None) -> str:
    """Has a registry keep the tree as an image of one layer; its reference."""

    async def push() -> None:
        blobs = MemoryBlobs()
        layer = (await snapshot(top, blobs)).manifest
        client = RegistryClient(keys=Keychain({}, {address: login} if login else {}), environ={})
        await push_image(client, parse_reference(f"{address}/{name}"), blobs, [layer], CONFIG)

    asyncio.run(push())
    return f"{address}/{name}"


@contextlib.contextmanager
def started(terminal: Terminal, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Python with these arguments while it lasts, and what it prints."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=terminal.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout
    finally:
        process.kill()
        process.communicate()


def images(terminal: Terminal, *flags: str) -> list[dict[str, Any]]:
    """The rows of `squall image list`."""
    said = terminal.squall("image", "list", "--json", *flags)
    assert said.status == 0, said
    found: list[dict[str, Any]] = json.loads(said.out)
    return found


def pulled(terminal: Terminal, reference: str) -> str:
    """The key of an image that is here when this returns."""
    said = terminal.squall("image", "pull", reference, "--json")
    assert said.status == 0, said
    key: str = json.loads(said.out)["image"]["key"]
    return key


def build(terminal: Terminal, reference: str, *commands: str) -> Said:
    """A build of these steps over an image of a registry."""
    done = subprocess.run(
        [sys.executable, str(STEPS), reference, *commands],
        env=terminal.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Said(status=done.returncode, out=done.stdout, err=done.stderr, took_s=0.0)


def way_in(said: Said) -> str:
    """The key of the image that a failed build says a shell can be opened in."""
    found = re.search(r"squall shell --image-step ([0-9a-f]{12})$", said.err, re.MULTILINE)
    assert found, said
    return found[1]
