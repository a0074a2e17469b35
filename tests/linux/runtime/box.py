"""Box: a launcher with a small runner of the tests' own, as root or as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from squall.runtime import packet
from squall.runtime.instance import instance_of
from squall.runtime.spec import Limits, Mount, SandboxSpec
from tests.linux import leaks
from tests.linux.runtime.probe import LAUNCH, RUNNER

ORDINARY_USER = 54_321
UID_BASE = 0x6000_0000
_SOURCE = Path(__file__).parents[3] / "src"
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin")


@dataclass(slots=True, kw_only=True)
class Ended:
    """What came of a container: what it printed and how it ended."""

    out: str
    err: str
    exited: dict[str, Any]

    def json(self) -> Any:
        assert self.out, f"nothing printed; on stderr: {self.err}; {self.exited}"
        return json.loads(self.out)


@dataclass(slots=True, kw_only=True)
class Running:
    """A started container, and our ends of it."""

    spec: SandboxSpec
    message: dict[str, Any]
    channel: socket.socket
    log: socket.socket
    out: int
    err: int
    read: dict[int, bytes] = field(default_factory=dict)

    def read_out(self) -> str:
        return _read_all(self.out).decode()

    def read_err(self) -> str:
        return _read_all(self.err).decode()

    def read_line(self) -> str:
        """The next line on its fd 1."""
        line = b""
        while not line.endswith(b"\n"):
            got = os.read(self.out, 1)
            assert got, f"it ended after {line!r}; on stderr: {self.read_err()}"
            line += got
        return line.decode().rstrip("\n")

    def close(self) -> None:
        self.channel.close()
        self.log.close()
        os.close(self.out)
        os.close(self.err)


class Box:
    """A launcher of one kind of host, and what is needed to start containers on it. kind: "root" or "user"."""

    def __init__(self, kind: str, top: Path, *, wrapper: tuple[str, ...] = (), drops: bool = False) -> None:
        self.wrapper = wrapper
        self.drops = drops
        self.kind = kind
        self.top = top
        self.state = top / "state"
        self.python = _python_for(kind)
        self.agent: socket.socket
        self.launcher: subprocess.Popen[bytes]
        self.templates = False
        self.gives_addresses = True
        self.no_addresses_because = ""
        self.addresses: dict[str, str] = {}
        self._given = 0
        self._count = 0
        self._early: list[packet.Packet] = []

    @property
    def uid(self) -> int:
        return user_of(self.kind)

    def give(self, path: Path) -> None:
        """Make a file this kind of host's own: its group too, for one that is not mapped cannot be copied up."""
        os.chown(path, self.uid, self.uid if os.geteuid() == 0 else os.getegid())

    def set_up(self) -> None:
        for name in ("state", "lower/app", "lower/etc", "modules"):
            (self.top / name).mkdir(parents=True)
        shutil.copytree(_SOURCE, self.top / "src", ignore=shutil.ignore_patterns("__pycache__"))
        (self.top / "modules" / "probe_runner.py").write_text(RUNNER)
        for path in [self.top, *self.top.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
            if os.geteuid() == 0:
                self.give(path)

    def launch(self) -> None:
        """Start a launcher and connect to it."""
        path = [str(self.top / "modules"), str(self.top / "src")]
        arguments = [str(self.top / "l.sock"), "--state", str(self.state)]
        program = LAUNCH.format(path=path, warm="probe_runner", arguments=arguments)
        identity: dict[str, Any] = {}
        if os.geteuid() != self.uid and not self.drops:
            identity = {"user": self.uid, "group": self.uid, "extra_groups": []}
        with open(self.top / "log", "ab") as log:
            self.launcher = subprocess.Popen(
                [*self.wrapper, self.python, "-I", "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                **identity,
            )
        self.connect()

    def connect(self) -> None:
        """Be the launcher's agent, in the place of the one before."""
        self.agent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.agent.settimeout(60)  # gVisor takes some of it on a busy machine
        deadline = time.monotonic() + 20
        while True:
            try:
                self._connect_as_its_user()
                self.say({"t": "list"})
                self.hear("containers")
                return
            except (FileNotFoundError, ConnectionRefusedError):
                assert self.launcher.poll() is None, (self.top / "log").read_text()
                assert time.monotonic() < deadline, "the launcher does not listen"
                time.sleep(0.005)

    def _connect_as_its_user(self) -> None:
        """A launcher in a user namespace of its own knows no root but its user."""
        before = os.geteuid()
        if self.wrapper and before != self.uid:
            os.seteuid(self.uid)
        try:
            self.agent.connect(str(self.top / "l.sock"))
        finally:
            os.seteuid(before)

    def tear_down(self) -> None:
        if self.launcher.poll() is None:
            try:
                self.say({"t": "quit"})
            except OSError:
                self.launcher.terminate()
            self.launcher.wait(20)
        self.agent.close()

    def spec(self, code: str = "", **changed: Any) -> SandboxSpec:
        """A sandbox whose runner runs `code`."""
        self._count += 1
        name = f"c{self._count}"
        env = {"CODE": code, "PATH": "/usr/bin:/bin", "HOME": "/tmp"}
        env |= changed.pop("env", {})
        given: dict[str, Any] = {
            "id": name,
            "scratch": str(self.state / "scratch" / name),
            "lowers": (str(self.top / "lower"),),
            "mounts": self.mounts(),
            "hostname": "box",
            "env": env,
            "workdir": "/app",
            "uid_base": UID_BASE if self.kind == "root" else None,
            "entry": "probe_runner:main",
        }
        return SandboxSpec(**{**given, **changed})

    def process_spec(self, code: str = "", **changed: Any) -> SandboxSpec:
        """The same without any isolation."""
        env = {"PYTHONPATH": f"{self.top / 'modules'}:{self.top / 'src'}", **changed.pop("env", {})}
        return self.spec(
            code,
            level="process",
            lowers=(),
            mounts=(),
            uid_base=None,
            workdir="/",
            network="host",
            interpreter=self.python,
            env=env,
            **changed,
        )

    def mounts(self) -> tuple[Mount, ...]:
        prefixes = {sys.prefix, sys.base_prefix} if self.python == sys.executable else set()
        shown = [*_SYSTEM, str(self.top / "src"), str(self.top / "modules"), *(prefixes - {"/usr"})]
        return tuple(Mount(source=path, target=path) for path in shown if os.path.exists(path))

    def say(self, message: dict[str, Any]) -> None:
        packet.send(self.agent, message)

    def hear(self, *kinds: str, of: str | None = None) -> packet.Packet:
        """The next message of one of `kinds`, about the container `of`; others are kept for later."""

        def fits(got: packet.Packet) -> bool:
            return got.message["t"] in kinds and of in {None, got.message.get("container")}

        for early in filter(fits, self._early):
            self._early.remove(early)
            return early
        while True:
            got = packet.receive(self.agent)
            assert got is not None, f"the launcher is gone: {(self.top / 'log').read_text()}"
            if got.message["t"] == "veth_wanted" and self.gives_addresses:
                self._give_address(got.message["sandbox"])
            elif got.message["t"] == "veth_free":
                self.addresses.pop(got.message["sandbox"], None)
            elif fits(got):
                return got
            else:
                self._early.append(got)

    def _give_address(self, sandbox: str) -> None:
        if self.no_addresses_because:
            self.say({"t": "veth", "sandbox": sandbox, "why": self.no_addresses_because})
            return
        self._given += 1
        name, address = f"sqtestb{self._given}", f"10.88.1.{self._given}"
        self.addresses[sandbox] = address
        veth = {"name": name, "address": address, "gateway": "10.88.0.1", "mtu": 1400}
        self.say({"t": "veth", "sandbox": sandbox, "veth": veth})

    def start(self, spec: SandboxSpec, *, path: str | None = None) -> Running:
        self.ask(spec, path=path)
        return self.started(spec)

    def started(self, spec: SandboxSpec) -> Running:
        """The container that was asked for, once it runs."""
        got = self.hear("started", "refused", of=spec.id)
        assert got.message["t"] == "started", got.message
        return _running(spec, got)

    def ask(self, spec: SandboxSpec, *, path: str | None = None) -> None:
        wish = {} if path is None else {"path": path}
        self.say({"t": "start", "container": spec.id, "spec": spec.to_json(), **wish})

    def template(
        self,
        code: str = "",
        *,
        packages: str = "",
        names: tuple[str, ...] = ("some",),
        heavy_s: float = 0.0,
        source: str | None = None,
        **changed: Any,
    ) -> dict[str, Any]:
        """Have a template made that has run `packages`, then `code`; how it stands once that is known."""
        spec = self.spec(**changed)
        env = {name: value for name, value in spec.env.items() if name != "CODE"}
        load: dict[str, Any] = {"entry": "probe_runner:preload", "code": code}
        if source is not None:
            load |= {"ahead": "probe_runner:ahead", "suits": "probe_runner:suits"}
            load |= {"packages": packages, "names": list(names), "heavy_s": heavy_s}
        wish = {"spec": replace(spec, env=env, veth=None).to_json(), "load": load, "source": source}
        self.say({"t": "template", **wish})
        while (told := self.hear("template").message)["state"] == "building":
            pass
        self.templates = True
        return told

    def await_spare(self) -> None:
        """Wait until a fork of the template waits to be asked for."""

        def waits() -> bool:
            self.say({"t": "list"})
            return bool(self.hear("containers").message["spares"])

        eventually(waits, lambda: "no spare comes")

    def still_has_addresses(self) -> bool:
        """Whether the launcher has not given back the addresses of all its sandboxes."""
        self.say({"t": "list"})
        self.hear("containers")
        return bool(self.addresses)

    def printed(self) -> str:
        """What templates have printed so far, as far as it has been told."""
        told = [got.message for got in self._early if got.message["t"] == "printed"]
        self._early = [got for got in self._early if got.message["t"] != "printed"]
        return "".join(message["text"] for message in told if message["stream"] == 1)

    def attach(self, spec: SandboxSpec) -> Running:
        self.say({"t": "attach", "container": spec.id})
        return _running(spec, self.hear("attached", of=spec.id))

    def finish(self, running: Running) -> Ended:
        """Read what a container prints until it ends, then its end; it is forgotten."""
        out, err = running.read_out(), running.read_err()
        exited = self.hear("exited", of=running.spec.id).message
        running.close()
        self.say({"t": "forget", "container": running.spec.id})
        return Ended(out=out, err=err, exited=exited)

    def run(self, code: str = "", **changed: Any) -> Ended:
        """Run `code` in a new sandbox until it ends."""
        return self.finish(self.start(self.spec(code, **changed)))

    def run_process(self, code: str, **changed: Any) -> Ended:
        """Run `code` in a new container without isolation until it ends."""
        return self.finish(self.start(self.process_spec(code, **changed)))

    def leftovers(self) -> dict[str, Any]:
        """What a launcher without containers must not have: processes, groups, mounts, descriptors, files."""
        pid = self.launcher.pid
        return {
            # The sweeper is one of them; another launcher has another one.
            "children": len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()),
            "groups": self.groups(),
            "mounts": [
                line for line in Path("/proc/mounts").read_text().splitlines() if str(self.top) in line
            ],
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "files": sorted(os.listdir(self.state / "scratch")) if (self.state / "scratch").exists() else [],
        }

    def descriptors(self) -> list[str]:
        """What the launcher has open."""
        folder = f"/proc/{self.launcher.pid}/fd"
        return [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]

    def groups(self) -> list[str]:
        # Other tests' groups come and go meanwhile, which walking does not mind.
        found = [f"{top}/{name}" for top, names, _ in os.walk("/sys/fs/cgroup") for name in names]
        return [path for path in found if f"squall-{self.instance}-" in path]

    @property
    def instance(self) -> str:
        return instance_of(str(self.state))


def _remove(top: Path) -> None:
    """Removes a folder in which the kernel's overlay may have left folders that nobody may enter."""
    for folder, names, _files in os.walk(top):
        for name in names:
            if not os.path.islink(os.path.join(folder, name)):
                os.chmod(os.path.join(folder, name), 0o700)
    shutil.rmtree(top)


@contextmanager
def a_box(
    kind: str,
    *,
    wrapper: tuple[str, ...] = (),
    drops: bool = False,
    prepare: Callable[[Box], None] = lambda _: None,
) -> Iterator[Box]:
    """A box for one test, of which nothing is left afterwards.

    wrapper: what the launcher is started through. drops: it is root that starts the wrapper, which becomes the user.
    prepare: what is done to its files before it starts.
    """
    _python_for(kind)  # leaves the test out where there is none, before there is a folder to be left
    top = leaks.fresh_folder(prefix="squall-box-", below="/tmp")
    box = Box(kind, top, wrapper=wrapper, drops=drops)
    try:
        box.set_up()
        prepare(box)
        box.launch()
        clean = box.leftovers()
        yield box
        if box.launcher.poll() is None:
            if box.templates:
                box.say({"t": "drop_template"})
            eventually(
                lambda: box.leftovers() == clean,
                lambda: (
                    f"left: {box.leftovers()}; before: {clean}; open: {box.descriptors()}; "
                    f"log: {(top / 'log').read_text()}"
                ),
            )
        box.tear_down()
        assert "Traceback" not in (top / "log").read_text(), (top / "log").read_text()
    finally:
        if box.launcher.poll() is None:
            box.launcher.kill()
            box.launcher.wait()
        if box.launcher.returncode:
            for group in box.groups():
                eventually(partial(_is_removed, group))
        _unmount_below(top)
        _remove(top)


def _is_removed(group: str) -> bool:
    try:
        os.rmdir(group)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _unmount_below(top: Path) -> None:
    """What a test has mounted on the host itself."""
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[1].startswith(f"{top}/"):
            subprocess.run(["umount", line.split()[1]], check=True)


def eventually(
    holds: Callable[[], bool], explain: Callable[[], str] = str, *, within_s: float = 10.0
) -> None:
    """Wait until `holds()` is true."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.01)


def _running(spec: SandboxSpec, got: packet.Packet) -> Running:
    channel, log, out, err = got.fds
    return Running(
        spec=spec,
        message=got.message,
        channel=socket.socket(fileno=channel),
        log=socket.socket(fileno=log),
        out=out,
        err=err,
    )


def read_to_end(fd: int) -> str:
    """All that comes from a pipe or a terminal, which ends with an error; the descriptor is closed."""
    said = b""
    while True:
        try:
            got = os.read(fd, 4096)
        except OSError:
            break
        if not got:
            break
        said += got
    os.close(fd)
    return said.decode()


def _read_all(fd: int) -> bytes:
    read = b""
    while got := os.read(fd, 65536):
        read += got
    return read


def user_of(kind: str) -> int:
    """Who runs the launcher of a kind of host."""
    if kind == "root":
        return 0
    return ORDINARY_USER if os.geteuid() == 0 else os.geteuid()


def _python_for(kind: str) -> str:
    """An interpreter that this kind of host can run: root's own home is closed to others."""
    if kind == "root" or os.geteuid() != 0:
        return sys.executable
    system = shutil.which(f"python{sysconfig.get_python_version()}", path="/usr/bin:/usr/local/bin")
    if system is None:
        pytest.skip(
            "needs root: and an interpreter of this version in /usr/bin, for the ordinary user's part"
        )
    return system


def limits(**given: int) -> Limits:
    return Limits(**given)
