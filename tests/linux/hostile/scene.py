"""A scene: a host with something to find on it, hostile containers that look for it, and what is to be seen of it after."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from squall.runtime.process_tree import parent_of
from squall.runtime.syscall_numbers import NUMBERS
from tests.linux.hostile.catalogue import CATALOGUE
from tests.linux.hostile.starts import Start
from tests.linux.runtime.box import ORDINARY_USER, Box, Running, a_box

Met = dict[str, str]
_INSIDE = Path(__file__).parent / "inside"
_CODE = "from tests.linux.hostile.inside import batch; batch.main()"
_WAIT = "import signal; print('up', flush=True); signal.pause()"
_STOPPING = [signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL]
# The first process of an OCI runtime's container passes the others on to its runner.
_ENDING = [signal.SIGSTOP, signal.SIGKILL]
# Longer than any attempt may take.
_SILENCE_S = 30.0
_SETTINGS = ("core_pattern", "modprobe", "hostname", "domainname")
# cap_sys_admin+ep, as a file in a layer may carry it.
_FILE_CAPABILITY = bytes.fromhex("0100000200002000" + "00" * 12)
_IPC_CREAT, _IPC_RMID = 0o1000, 0


@dataclass(slots=True, kw_only=True)
class Scene:
    """What is there to be found, and where. facts: what the attempts are told of it."""

    box: Box
    facts: dict[str, Any]
    listeners: tuple[socket.socket, ...]
    canary: bytes

    def seen(self) -> dict[str, Any]:
        """What the host shows that no container may change."""
        return {
            "the secret": (self.box.top / "secret").read_text(),
            "settings": {
                name: path.read_text()
                for name in _SETTINGS
                # A kernel without modules has none that loads them.
                if (path := Path(f"/proc/sys/kernel/{name}")).exists()
            },
            "interpreter": [_digest(path) for path in {self.box.python, sys.executable}],
            "image": sorted((path.name, path.stat().st_mode) for path in (self.box.top / "lower").rglob("*")),
            "host's mounts": [
                line
                for line in Path("/proc/self/mounts").read_text().splitlines()
                if str(self.box.top) in line
            ],
            "another container": _lives(self.facts["host_pids"]["another container"]),
            "connections": [_connections(one) for one in self.listeners],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of a start: outcomes by probe of two containers after each other; the host before and after.

    root_on_host: the id of the host that the root of the container is.
    """

    start: Start
    first: dict[str, Met]
    second: dict[str, Met]
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    root_on_host: int = -1


@contextmanager
def a_scene(start: Start) -> Iterator[Scene]:
    """A box with a planted image, another container, listeners and a secret; none of it is left."""
    canary = os.urandom(16)
    with a_box(start.kind, prepare=_plant) as box, ExitStack() as stack:
        template = _template(box, start) if start.of_template else {}
        other = _another(box, start, canary)
        listeners = tuple(stack.enter_context(one) for one in _listen(box))
        room = box.top / "room"
        room.mkdir()
        room.chmod(0o1777)
        facts = _facts(box, other)
        for name, found in template.items():
            facts[name] |= found
        facts |= {
            "abstract": listeners[0].getsockname()[1:].decode(),
            "port": listeners[1].getsockname()[1],
            "canary_begin": canary[:2].hex(),
            "canary_digest": hashlib.sha256(canary).hexdigest(),
        }
        stack.callback(_clean, facts)
        yield Scene(box=box, facts=facts, listeners=listeners, canary=canary)
        box.say({"t": "kill", "container": other.spec.id})
        box.finish(other)


def play(scene: Scene, start: Start) -> Played:
    """The whole catalogue, in two containers that begin in this way."""
    facts = dict(scene.facts)
    with ExitStack() as stack:
        if start.isolated:
            other = facts["host_pids"]["another container"]
            facts |= {
                "room": "/tmp",
                "first": 1,
                "first_signals": _ENDING if start.place == "oci" else _STOPPING,
                "outside_pid": other,
            }
        else:
            facts |= stack.enter_context(_unprotected(scene, mounts=start.kind == "root"))
        before = scene.seen()
        run = _load if start.place == "loading" else _run
        first, root = run(scene.box, start, _asked(facts))
        second, _ = run(scene.box, start, _asked(facts, again=True))
        return Played(
            start=start,
            first=first,
            second=first | second,
            before=before,
            after=scene.seen(),
            root_on_host=root,
        )


def play_outside(scene: Scene) -> Played:
    """The same as root of the host, without a sandbox, and with all that it looks for laid before it."""
    program = scene.box.top / "program"
    shutil.copy(scene.box.python, program)
    extra, _ = os.pipe()
    with _unprotected(scene, mounts=True) as unprotected, open(scene.box.top / "streams", "w+b") as stream:
        facts = {
            **scene.facts,
            **unprotected,
            "canary": scene.canary.hex(),
            "seed": 7,
            "program": str(program),
        }
        told = [_outside(scene, _asked(facts, again=again), stream, extra) for again in (False, True)]
    os.close(extra)
    nowhere = Start(kind="root", rung="exec", level="process")
    return Played(start=nowhere, first=told[0], second=told[0] | told[1])


def _outside(scene: Scene, asked: str, stream: BinaryIO, extra: int) -> dict[str, Met]:
    """With a file of ours for each stream, one descriptor and one group too many."""
    stream.seek(0)
    stream.truncate()
    done = subprocess.run(
        [sys.executable, "-c", _CODE],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(scene.box.top / "modules"),
            "HOSTILE": asked,
        },
        pass_fds=(extra,),
        extra_groups=[ORDINARY_USER],
        stdin=stream,
        stdout=stream,
        stderr=stream,
        timeout=60,
        check=False,
    )
    stream.seek(0)
    said = stream.read().decode()
    assert done.returncode == 0, said
    return _told(said)


def _run(box: Box, start: Start, asked: str) -> tuple[dict[str, Met], int]:
    """What a container met, and which id of the host its root is.

    A kernel of its own may let an attempt end the whole container: that is what it met then, and another container goes
    on behind it.
    """
    found: dict[str, Met] = {}
    left, root = json.loads(asked), -1
    while left["attempts"]:
        running = start.begin(box, f"{_CODE}; import signal; signal.pause()", {"HOSTILE": json.dumps(left)})
        # As the host sees it: inside a nested namespace, ids are those of the one around it.
        root = int(Path(f"/proc/{running.message['pid']}/uid_map").read_text().split()[1])
        said, why = _heard(running, lines=len(left["attempts"]))
        box.say({"t": "kill", "container": running.spec.id})
        ended = box.finish(running)
        told = _told(said)
        left["attempts"] = [code for code in left["attempts"] if code not in told]
        found |= told
        if left["attempts"]:
            assert start.level == "gvisor", (why, left["attempts"][0], ended)
            found[left["attempts"].pop(0)] = {"everything": why}
    return found, root


def _heard(running: Running, *, lines: int) -> tuple[str, str]:
    """What it prints until it is done or has ended, or says nothing any more; and why there are not all lines."""
    said = b""
    while said.count(b"\n") < lines:
        if not select.select([running.out], [], [], _SILENCE_S)[0]:
            return said.decode(), "its container hangs"
        got = os.read(running.out, 65536)
        if not got:
            return said.decode(), "its container ended"
        said += got
    return said.decode(), ""


def _told(said: str) -> dict[str, Met]:
    """What each attempt met, of the lines that are whole."""
    found: dict[str, Met] = {}
    for line in said.splitlines(keepends=True):
        if line.endswith("\n"):
            found |= json.loads(line)
    return found


def _load(box: Box, _start: Start, asked: str) -> tuple[dict[str, Met], int]:
    """What code met that a template loaded. It then counts as broken, for what it has sent to the launcher."""
    box.template(_CODE, env={"HOSTILE": asked})
    printed = box.printed()
    assert printed, "the template has printed nothing"
    return _told(printed), -1


def _asked(facts: dict[str, Any], *, again: bool = False) -> str:
    probes = [probe for probe in CATALOGUE if probe.twice or not again]
    here = [probe.code for probe in probes if probe.here]
    # First what the others disturb.
    order = sorted((probe.code for probe in probes), key=lambda code: code not in here)
    return json.dumps({"attempts": order, "here": here, "facts": facts})


def _plant(box: Box) -> None:
    place = box.top / "modules" / "tests" / "linux" / "hostile"
    shutil.copytree(_INSIDE, place / "inside", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (box.top / "modules").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (box.top / "secret").write_text("nobody's business")
    (box.top / "secret").chmod(0o600)
    for name, mode, capability in (
        ("set-user-id", 0o6755, b""),
        ("file-capabilities", 0o755, _FILE_CAPABILITY),
    ):
        planted = box.top / "lower" / "app" / name
        shutil.copy("/bin/cat", planted)
        planted.chmod(mode)
        if capability and os.geteuid() == 0:
            os.setxattr(planted, "security.capability", capability)


def _template(box: Box, start: Start) -> dict[str, dict[str, Any]]:
    """A template for such containers, and what of it can be looked for."""
    said = box.template(level=start.level)
    assert said["state"] == "ready", said
    first = parent_of(said["pid"])
    assert first is not None
    (top,) = (box.state / "scratch").iterdir()
    return {
        "host_pids": {"the template": said["pid"], "the template's first process": first},
        "host_paths": {
            "the template's directory": str(top),
            "the template's scratch": str(top / "boxes" / "template"),
            "all sandboxes": str(top / "boxes"),
        },
    }


def _another(box: Box, start: Start, canary: bytes) -> Running:
    """A container like the hostile one, that was told a secret over its channel."""
    like = start if start.isolated else replace(start, level="sandbox")
    other = box.start(like.spec(box, _WAIT, {}))
    assert other.read_line() == "up"
    other.channel.sendall(canary)
    return other


def _listen(box: Box) -> Iterator[socket.socket]:
    for family, address in (
        (socket.AF_UNIX, f"\0squall-hostile-{secrets.token_hex(6)}"),
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_UNIX, str(box.top / "socket")),
    ):
        one = socket.socket(family, socket.SOCK_STREAM)
        one.bind(address)
        one.listen()
        one.setblocking(False)
        yield one
    (box.top / "socket").chmod(0o777)


def _facts(box: Box, other: Running) -> dict[str, Any]:
    agents = [
        *Path("/sys/fs/cgroup").glob("*/release_agent"),
        *Path("/sys/fs/cgroup").glob("*/notify_on_release"),
    ]
    key = int.from_bytes(os.urandom(4)) & 0x7FFFFFFF
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.shmget(key, 4096, _IPC_CREAT | 0o666) >= 0
    return {
        "numbers": dict(NUMBERS.get(os.uname().machine, {})),
        "foreign": os.uname().machine == "x86_64",
        "agents_of_groups": [str(path) for path in agents] or ["/sys/fs/cgroup/memory/release_agent"],
        "state": str(box.state),
        "host_pids": {
            "the launcher": box.launcher.pid,
            "the tests": os.getpid(),
            "another container": other.message["pid"],
            "that one's first process": other.message["init_pid"],
        },
        "host_paths": {
            "a secret": str(box.top / "secret"),
            "a socket": str(box.top / "socket"),
            "the state": str(box.state),
            "another's scratch": other.spec.scratch,
            "the launcher's socket": str(box.top / "l.sock"),
            "the launcher's log": str(box.top / "log"),
        },
        "planted": {name: f"/app/{name}" for name in ("set-user-id", "file-capabilities")},
        "own_descriptors": [0, 1, 2, 3, 4],
        "shared_key": key,
        "left_key": key ^ 1,
        "left_name": f"left-behind-{secrets.token_hex(6)}",
    }


@contextmanager
def _unprotected(scene: Scene, *, mounts: bool) -> Iterator[dict[str, Any]]:
    """What attempts are told where nothing holds them, so that they harm processes and places of these tests alone."""
    sleepers = [subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL) for _ in range(2)]
    try:
        yield {
            "room": str(scene.box.top / "room"),
            "first": sleepers[0].pid,
            "outside_pid": sleepers[1].pid,
            "own_mounts": mounts,
            "as_user": ORDINARY_USER if mounts else 0,
            "planted": {
                name: f"{scene.box.top}/lower{path}" for name, path in scene.facts["planted"].items()
            },
        }
    finally:
        for one in sleepers:
            one.kill()
            one.wait()


def _clean(facts: dict[str, Any]) -> None:
    """What was left on the host itself, where nothing kept it apart."""
    libc = ctypes.CDLL(None, use_errno=True)
    for key in (facts["shared_key"], facts["left_key"]):
        if (found := libc.shmget(key, 0, 0)) >= 0:
            libc.shmctl(found, _IPC_RMID, None)
    for place in ("/dev/shm", "/var/tmp"):
        Path(place, facts["left_name"]).unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    """Neither ended nor stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"R", "S", "D"}


def _connections(listener: socket.socket) -> int:
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
