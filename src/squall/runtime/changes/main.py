"""The work on changes with the rights of a container's root: told what is in a directory, or removing it."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from squall.blobs.overlay_notes import Notes
from squall.blobs.told_walk import tell
from squall.blobs.walk import How, Walk
from squall.runtime import scratch, syscalls
from squall.runtime.host import Host
from squall.runtime.namespaces import do_as_container_root
from squall.runtime.probe import subordinate_ids


def main(arguments: Sequence[str]) -> int:
    """`walk DIRECTORY [SECONDS]` tells on standard output what is there, with no later change; `remove DIRECTORY` removes it."""
    match list(arguments):
        case ["walk", root]:
            return _inside(partial(_walk, root, How(notes=Notes.USER)))
        case ["walk", root, clamp]:
            return _inside(partial(_walk, root, How(notes=Notes.USER, clamp_mtime_s=int(clamp))))
        case ["remove", root]:
            return _inside(partial(scratch.remove, root))
    sys.exit("usage: squall-changes walk DIRECTORY [SECONDS] | remove DIRECTORY")


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


def _walk(root: str, how: How) -> None:
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        tell(Walk(Path(root), how), out)
