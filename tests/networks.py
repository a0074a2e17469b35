"""Networks of the tests' own: one that stands for a machine, and one for everything that this machine reaches."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Addresses for documents; there is no way out of the two namespaces in which the tests use them.
HERE, THERE, BEHIND, METADATA = "203.0.113.2", "203.0.113.1", "198.51.100.7", "169.254.169.254"
ABSTRACT = "squall-tests-own"
# What the programs that lead users out call themselves.
CARRIERS = ("pasta", "passt", "slirp4netns")
SERVE = """
import socket, sys, threading
def serve(listener):
    while True:
        connection, peer = listener.accept()
        connection.sendall(str(peer and peer[0]).encode())
        connection.close()
listeners = [socket.create_server(("0.0.0.0", 80))]
if len(sys.argv) > 1:
    listeners.append(socket.socket(socket.AF_UNIX))
    listeners[-1].bind(chr(0) + sys.argv[1])
    listeners[-1].listen()
for listener in listeners:
    threading.Thread(target=serve, args=(listener,)).start()
print("there", flush=True)
"""


def enter(pid: int) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{pid}/ns/net")


@contextmanager
def a_network() -> Iterator[int]:
    """A network namespace: a process in it."""
    holder = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "echo up; exec sleep 600"], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        subprocess.run([*enter(holder.pid), "ip", "link", "set", "lo", "up"], check=True)
        yield holder.pid
    finally:
        holder.kill()
        holder.communicate()


@contextmanager
def a_server(pid: int, *arguments: str) -> Iterator[None]:
    """A server in that network that says who asks."""
    argv = [*enter(pid), sys.executable, "-c", SERVE, *arguments]
    server = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"there\n"
        yield
    finally:
        server.kill()
        server.communicate()


@contextmanager
def two_machines() -> Iterator[int]:
    """The pid of a process in the first machine's network."""
    with a_network() as here, a_network() as there:
        script = f"""
        ip link add up0 type veth peer name out0 netns {there}
        ip addr add {HERE}/24 dev up0
        ip link set up0 up
        nsenter --net=/proc/{there}/ns/net sh -ec '
          ip addr add {THERE}/24 dev out0
          ip link set out0 up
          ip addr add {METADATA}/32 dev lo
          ip addr add {BEHIND}/32 dev lo'
        ip route add default via {THERE}
        """
        subprocess.run([*enter(here), "sh", "-ec", script], check=True)
        with a_server(there), a_server(here, ABSTRACT):
            yield here


def wrapper_of(kind: str, here: int, folder: Path, *, user: int) -> tuple[str, ...]:
    """What commands are run through on a machine that joins networks in this way."""
    if kind == "veth":
        return enter(here)
    drop = ("setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups")
    tun, hidden = folder / "tun", folder / "hidden"
    if not tun.exists():
        subprocess.run(["mknod", str(tun), "c", "10", "200"], check=True)
        tun.chmod(0o666 if kind != "host" else 0o600)
        hidden.write_text("")
    others = {"pasta": "slirp4netns", "slirp4netns": "pasta"}
    hides = [shutil.which(others[kind])] if kind in others else []
    script = "mount --make-rprivate /\n"
    script += f"mount --bind {tun} /dev/net/tun\n" if os.path.exists("/dev/net/tun") else ""
    script += "".join(f"mount --bind {hidden} {path}\n" for path in hides if path)
    return (*enter(here), "unshare", "-m", "sh", "-ec", script + 'exec "$@"', "sh", *drop)
