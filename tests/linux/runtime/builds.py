"""Builds of the tests: a step that runs over a layer, and what it has changed, as a layer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from squall.blobs.manifest import Entry
from squall.blobs.manifest_bytes import decode
from squall.runtime.spec import Mount, SandboxSpec
from tests.linux.runtime.box import UID_BASE, Box

_TAKE = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = {path!r}
from squall.blobs.memory_blobs import MemoryBlobs
from squall.model.errors import Error
from squall.runtime.changes.taken import snapshot_changes
async def take():
    blobs = MemoryBlobs()
    taken = await snapshot_changes(Path({changes!r}), blobs, uid_base={uid_base!r})
    sys.stdout.buffer.write(await blobs.get(taken.manifest))
try:
    asyncio.run(take())
except Error as error:
    sys.exit(error.message)
"""


def a_build(box: Box, layer: Path, code: str, **changed: Any) -> SandboxSpec:
    """A step of a build: `code` runs over the layer, and what it changes is kept."""
    upper = box.top / f"changes-{len(list(box.top.glob('changes-*')))}"
    upper.mkdir()
    box.give(upper)
    mounts = (*box.mounts(), Mount(source=str(box.top / "modules"), target="/squall/build/inputs"))
    given: dict[str, Any] = {
        "lowers": (str(layer),),
        "owned": (str(layer),),
        "upper": str(upper),
        "capabilities": "build",
        "argv": (box.python, "-c", code),
        "workdir": "/",
        "mounts": mounts,
    }
    return box.spec(**{**given, **changed})


def layer_of(box: Box, spec: SandboxSpec) -> dict[str, Entry]:
    """What was kept, as the container saw it."""
    done = take(box, spec)
    assert done.returncode == 0, done.stderr.decode()
    return {entry.path: entry for entry in decode(done.stdout).entries}


def take(box: Box, spec: SandboxSpec) -> subprocess.CompletedProcess[bytes]:
    """Have the snapshot taken by whoever the box's launcher runs as; its manifest, or the message of an error."""
    program = _TAKE.format(
        path=[str(box.top / "src")],
        changes=str(spec.changes),
        uid_base=UID_BASE if box.kind == "root" else None,
    )
    return _run(box, program)


def remove(box: Box, spec: SandboxSpec) -> None:
    """Have what was kept removed by whoever the box's launcher runs as."""
    program = f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(box.top / "src")]!r}
from squall.runtime.changes.taken import remove_changes
remove_changes(Path({spec.upper!r}), uid_base={UID_BASE if box.kind == "root" else None})
"""
    done = _run(box, program)
    assert done.returncode == 0, done.stderr.decode()


def _run(box: Box, program: str) -> subprocess.CompletedProcess[bytes]:
    identity: dict[str, Any] = {}
    if os.geteuid() != box.uid and not box.drops:
        identity = {"user": box.uid, "group": box.uid, "extra_groups": []}
    python = box.python if box.kind == "user" else sys.executable
    return subprocess.run(
        [*box.wrapper, python, "-I", "-c", program],
        capture_output=True,
        check=False,
        cwd="/",
        timeout=60,
        **identity,
    )


_RENDER = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = {path!r}
from squall.blobs.disk_blobs import DiskBlobs
from squall.runtime.changes.rendered import layer_renderer, remove_layer
from squall.runtime.changes.taken import snapshot_changes
from squall.runtime.probe import probe
async def render():
    host = probe({top!r})
    blobs = await DiskBlobs.open(Path({top!r}, "blobs"))
    taken = await snapshot_changes(Path({changes!r}), blobs, uid_base={uid_base!r})
    await layer_renderer(blobs, Path({top!r}, "blobs"), host).render(taken.manifest, Path({into!r}))
    if {remove!r}:
        remove_layer(Path({into!r}), host)
asyncio.run(render())
"""


def rendered(box: Box, spec: SandboxSpec, *, remove: bool = False) -> Path:
    """What a build has changed, kept and made into a layer again by whoever the box's launcher runs as. remove: and removed."""
    place = box.top / "rendering"
    place.mkdir(exist_ok=True)
    box.give(place)
    into = place / f"layer-{len(list(place.iterdir()))}"
    program = _RENDER.format(
        path=[str(box.top / "src")],
        top=str(place),
        changes=str(spec.changes),
        uid_base=UID_BASE if box.kind == "root" else None,
        into=str(into),
        remove=remove,
    )
    done = _run(box, program)
    assert done.returncode == 0, done.stderr.decode()
    return into
