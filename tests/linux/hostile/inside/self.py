"""Attempts that begin at the process itself: its powers, descriptors, memory, program, luck and what others left."""

from __future__ import annotations

import array
import ctypes
import hashlib
import os
import random
import re
import secrets
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import uuid
from functools import partial

from tests.linux.hostile.inside.attempts import (
    NO_EFFECT,
    Facts,
    Met,
    attempt,
    buffer,
    call,
    in_child,
    open_to_write,
    seen,
    status,
)

_kept: list[bytes] = []
_CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_PLACES = {
    "the temporary directory": "{room}",
    "shared memory": "/dev/shm",
    "/var/tmp": "/var/tmp",
    "/app": "/app",
}


def powers(_facts: Facts) -> Met:
    """What the kernel says of it, before and after a program is started."""
    own = status()
    libc = ctypes.CDLL(None, use_errno=True)
    after = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    (effective,) = re.findall(r"^CapEff:\s*(\w+)", after, re.MULTILINE)
    met = {name: f"{int(own[name], 16):x}" if name in own else "not told" for name in _CAPABILITIES}
    return {
        **met,
        "CapEff of a program": f"{int(effective, 16):x}",
        "NoNewPrivs": own.get("NoNewPrivs", "not told"),
        "Seccomp": own.get("Seccomp", "not told"),
        "secure bits": str(libc.prctl(27, 0, 0, 0, 0)),
        "groups": "none" if not own["Groups"] or set(own["Groups"].split()) == {"65534"} else "some",
    }


def planted_programs(facts: Facts) -> Met:
    """Programs of the image with set-user-id and with capabilities of a file: what they have more than we."""
    return {name: in_child(partial(_gain, path, facts)) for name, path in facts["planted"].items()}


def _gain(path: str, facts: Facts) -> str:
    if facts.get("as_user"):
        os.setgroups([])
        os.setresgid(*[facts["as_user"]] * 3)
        os.setresuid(*[facts["as_user"]] * 3)
    before = status()
    try:
        done = subprocess.run([path, "/proc/self/status"], capture_output=True, text=True, check=False)
    except PermissionError:
        return "EPERM"
    if done.returncode:
        return "not run"
    after = {
        name: value.strip() for name, _, value in (line.partition(":") for line in done.stdout.splitlines())
    }
    more = int(after["CapEff"], 16) & ~int(before["CapEff"], 16)
    return "gained" if more or after["Uid"].split() != before["Uid"].split() else "nothing"


def more_powers(facts: Facts) -> Met:
    header = buffer(struct.pack("=Ii", 0x20080522, 0))
    admin = buffer(struct.pack("=6I", 1 << 21, 1 << 21, 0, 0, 0, 0))
    return {
        "ambient": call(facts, "prctl", 47, 2, 21, 0, 0),
        "secure bits": call(facts, "prctl", 28, 0, 0, 0, 0),
        "capset": _effective(call(facts, "capset", header, admin)),
        "own memory map": call(facts, "prctl", 35, 1, 0x10000, 0, 0),
    }


def _effective(met: str) -> str:
    """What a call met that was to raise a power, if it did."""
    status = open("/proc/thread-self/status", encoding="ascii").read()  # noqa: SIM115 - read at once
    held = int(status.partition("CapEff:")[2].split()[0], 16)
    return met if met != "done" or held >> 21 & 1 else NO_EFFECT


def other_ids(_facts: Facts) -> Met:
    """Ids that are not its own, for itself and for a file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/file"
        with open(path, "w", encoding="utf-8"):
            pass
        met = {
            "give a file away": attempt(
                lambda: os.chown(path, 70_000, 70_000), lambda: os.stat(path).st_uid == 70_000
            ),
        }
    return {
        **met,
        "become another": in_child(
            lambda: attempt(lambda: os.setresuid(70_000, 70_000, 70_000), lambda: os.getuid() == 70_000)
        ),
        "groups": in_child(lambda: attempt(lambda: os.setgroups([70_000]), lambda: 70_000 in os.getgroups())),
    }


def descriptors(facts: Facts) -> Met:
    """Every open one but the standard streams and the two of a runner, by its kind; and what kind those five are."""
    met = {}
    for number in range(1024):
        try:
            link = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        kind = link.partition(":")[0]
        if number not in facts["own_descriptors"]:
            met[f"beyond: {number}"] = kind
        elif number > 2:
            met[f"own: {number}"] = kind
        else:
            met[f"stream: {number}"] = "host" if stat.S_ISREG(os.fstat(number).st_mode) else kind
    return met


def canary(facts: Facts) -> Met:
    """Whether a secret that another was told is anywhere in our memory. Only its first two bytes are known here."""
    begin, digest = bytes.fromhex(facts["canary_begin"]), facts["canary_digest"]
    found = False
    _kept.append(bytes.fromhex(facts.get("canary", "")))
    with open("/proc/self/maps", encoding="utf-8") as maps:
        lines = maps.readlines()
    for line in lines:
        match = re.match("([0-9a-f]+)-([0-9a-f]+) (....)", line)
        if match is None or not match[3].startswith("rw"):
            continue
        chunk = _memory(int(match[1], 16), int(match[2], 16))
        for at in re.finditer(re.escape(begin), chunk):
            found |= hashlib.sha256(chunk[at.start() : at.start() + 16]).hexdigest() == digest
    return {"a secret of another": "found" if found else "none"}


def _memory(start: int, end: int) -> bytes:
    try:
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            memory.seek(start)
            return memory.read(end - start)
    except OSError:
        return b""


def luck(facts: Facts) -> Met:
    """Numbers that no sibling may draw too."""
    if "seed" in facts:
        random.seed(facts["seed"])
    return {
        "random": str(random.random()),
        "own generator": str(random.Random().random()),
        "secrets": secrets.token_hex(8),
        "uuid4": str(uuid.uuid4()),
        "uuid1": str(uuid.uuid1()),
        "temporary name": next(tempfile._get_candidate_names()),  # type: ignore[attr-defined]  # what mkdtemp draws from
    }


def own_program(facts: Facts) -> Met:
    """Its own program, by the link, by its path, and after a process that ran it has ended. Nothing is written."""
    path = facts.get("program") or os.readlink("/proc/self/exe")
    runs = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    held = os.open(facts.get("program") or f"/proc/{runs.pid}/exe", os.O_PATH)
    runs.communicate(b"\n")
    return {
        "by link": open_to_write(facts.get("program") or "/proc/self/exe"),
        "by path": open_to_write(path),
        "by a descriptor that outlives it": open_to_write(f"/proc/self/fd/{held}"),
        "by its directory": "done" if os.access(os.path.dirname(path), os.W_OK) else "EACCES",
    }


def left_behind(facts: Facts) -> Met:
    """What another container left in its files, its environment and its shared memory; then the same is left anew."""
    libc = ctypes.CDLL(None, use_errno=True)
    met = {}
    for name, place in _PLACES.items():
        path = f"{place.format(room=facts['room'])}/{facts['left_name']}"
        met[f"file in {name}"] = attempt(partial(os.stat, path))
        try:
            with open(path, "w", encoding="utf-8"):
                pass
        except OSError:
            pass  # Not everywhere may everybody write.
    key = facts["left_key"]
    met["shared memory by key"] = "done" if libc.shmget(key, 1, 0) >= 0 else "ENOENT"
    libc.shmget(key, 4096, 0o1600)
    met["environment"] = seen(lambda: "done" if os.environ.get("LEFT_BEHIND") else "ENOENT")
    os.environ["LEFT_BEHIND"] = "1"
    return met


def nonsense(_facts: Facts) -> Met:
    """Garbage, too much, and descriptors by the hundred into each descriptor that it shares with a launcher."""
    sent = 0
    for number in (3, 4):
        try:
            one = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 8))]
        for data in (
            b"",
            b"\xff" * 100,
            b"{",
            b"x" * 60_000,
            b'{"t": "ended", "status": 0}',
            b'{"t": "quit"}',
        ):
            for _ in range(50):
                try:
                    one.sendmsg([data], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                    sent += 1
                except OSError:
                    break
        one.close()
    return {"everyday sending": "done" if sent else "EPIPE"}
