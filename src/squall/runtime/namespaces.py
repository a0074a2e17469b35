"""Which ids of the host a container's ids are: the maps that a launcher writes for a new user namespace."""

import os
import socket
from collections.abc import Callable

from squall.runtime import syscalls
from squall.runtime.host import Host
from squall.runtime.spec import UID_RANGE


def write_id_maps(pid: int, host: Host, *, uid_base: int | None) -> None:
    """Map the ids of the new user namespace that the process `pid` is in.

    Root: the container's own range, from uid_base on. A user with subordinate ids: 0 is the user, the rest are those
    ids. Any other user: 0 is the user, and there is no other id. Raises OSError where the kernel refuses.
    """
    if host.privileged:
        if uid_base is None:
            raise PermissionError("as root each container needs a uid_base of its own")
        both = f"0 {uid_base} {UID_RANGE}\n"
        write_map(pid, "uid_map", both)
        write_map(pid, "gid_map", both)
    elif host.subordinate is not None:
        ids = host.subordinate
        _run_mapper("newuidmap", pid, host.uid, ids.uid_first, ids.uid_count)
        _run_mapper("newgidmap", pid, os.getgid(), ids.gid_first, ids.gid_count)
    else:
        # The kernel lets a user map itself only once nobody inside can drop a group that takes rights away.
        write_map(pid, "setgroups", "deny")
        write_map(pid, "uid_map", f"0 {host.uid} 1\n")
        write_map(pid, "gid_map", f"0 {os.getgid()} 1\n")


def do_as_container_root(host: Host, do: Callable[[], int]) -> int:
    """The exit code of `do`, done by a child that has the rights of a container's root over the files it left.

    Needed where those belong to subordinate ids, for which only a user namespace can act.
    """
    ours, theirs = socket.socketpair()
    pid = syscalls.clone(syscalls.CLONE_NEWUSER)
    if pid == 0:
        code = 1
        try:
            ours.close()
            if theirs.recv(1):
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
                code = do()
        finally:
            os._exit(code)
    theirs.close()
    try:
        write_id_maps(pid, host, uid_base=None)
        ours.sendall(b"x")
    finally:
        ours.close()
        status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status)


def write_map(pid: int, name: str, text: str) -> None:
    """Write `text` to the file `name` of a process in /proc that says what its ids are."""
    fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _run_mapper(program: str, pid: int, own: int, first: int, count: int) -> None:
    arguments = [program, str(pid), "0", str(own), "1", "1", str(first), str(min(count, UID_RANGE - 1))]
    mapper = os.posix_spawnp(program, arguments, {"PATH": os.defpath})
    code = os.waitstatus_to_exitcode(os.waitpid(mapper, 0)[1])
    if code != 0:
        raise PermissionError(
            f"{program} refused to map the subordinate ids of this user (it ended with {code})"
        )
