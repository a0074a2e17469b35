"""A file system that another process serves: mounted here, and its device handed over to that process."""

import errno
import json
import os
import socket

from squall.runtime import overlay, syscalls
from squall.runtime.plan import MountServed

DEVICE = "/dev/fuse"
_ANSWER_S = 10.0
_PACKET = 4096


def mount_served(root_fd: int, step: MountServed) -> None:
    """Mount what `step` says inside the root. Raises OSError where the kernel refuses, or nobody serves it."""
    # The kernel lets nobody mount a device that was opened in another user namespace than the mount's.
    device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | (0 if step.writable else syscalls.MS_RDONLY)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
        with overlay.target_inside(root_fd, step.target, directory=True) as target:
            syscalls.mount("squall", f"/proc/self/fd/{target}", "fuse", flags, options)
        _hand_over(device, step)
    finally:
        os.close(device)


def _hand_over(device: int, step: MountServed) -> None:
    directory = os.open(step.source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.settimeout(_ANSWER_S)
            asked = json.dumps({"owner": step.owner, "read_only": not step.writable}).encode()
            try:
                door.connect(f"/proc/self/fd/{directory}/sock")
                socket.send_fds(door, [asked], [device])
                answer = door.recv(_PACKET)
            except TimeoutError:
                raise OSError(errno.ETIMEDOUT, "whoever serves it does not answer", step.target) from None
            if not answer:
                raise OSError(errno.ECONNREFUSED, "whoever serves it does not take it", step.target)
    finally:
        os.close(directory)
