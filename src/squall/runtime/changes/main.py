"""The work on layers with the rights of a container's root: told what is in a directory, filling one, or removing it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from squall.blobs.digest import Digest, parse_digest
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.overlay_notes import Notes
from squall.blobs.told_walk import tell
from squall.blobs.walk import How, Walk
from squall.model.errors import Error
from squall.runtime import scratch, syscalls
from squall.runtime.host import Host
from squall.runtime.namespaces import do_as_container_root
from squall.runtime.probe import subordinate_ids


def main(arguments: Sequence[str]) -> int:
    """`walk DIRECTORY [SECONDS]` tells on standard output what is there, with no later change; `remove DIRECTORY` removes it;
    `render BLOBS MANIFEST DIRECTORY` makes a directory of what a manifest says, and tells on standard error what went wrong.
    """
    match list(arguments):
        case ["walk", root]:
            return _inside(partial(_walk, root, How(notes=Notes.USER)))
        case ["walk", root, clamp]:
            return _inside(partial(_walk, root, How(notes=Notes.USER, clamp_mtime_s=int(clamp))))
        case ["remove", root]:
            return _inside(partial(scratch.remove, root))
        case ["render", blobs, manifest, into]:
            return _inside(partial(_render, Path(blobs), parse_digest(manifest), Path(into)))
    sys.exit(
        "usage: squall-changes walk DIRECTORY [SECONDS] | remove DIRECTORY | render BLOBS MANIFEST DIRECTORY"
    )


def _inside(do: Callable[[], None]) -> int:
    host = Host(
        kernel=(0, 0),
        machine=os.uname().machine,
        uid=os.geteuid(),
        privileged=False,
        subordinate=subordinate_ids(),
    )

    def done() -> int:
        # The kernel forgets this at a change of ids, and they were changed just now.
        syscalls.die_with_parent(signal.SIGKILL)
        do()
        return 0

    return do_as_container_root(host, done)


def _render(blobs: Path, manifest: Digest, into: Path) -> None:
    async def render() -> None:
        store = await DiskBlobs.open(blobs)
        try:
            await DirectoryRenderer(store, notes=Notes.USER, owners=True).render(manifest, into)
        finally:
            await store.close()

    try:
        asyncio.run(render())
    except Error as refused:
        sys.exit(json.dumps(refused.to_wire()))


def _walk(root: str, how: How) -> None:
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        tell(Walk(Path(root), how), out)
