"""What a container sees of the machine: itself, and nothing else."""

from __future__ import annotations

import os

import pytest

from tests.linux.runtime.box import UID_BASE, Box
from tests.machine import mount_points

_STATUS = """
import json, os
fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({name: fields[name].split() for name in
    ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Uid", "Gid")}))
"""


def test_it_is_root_in_name_only(box: Box) -> None:
    status = box.run(_STATUS).json()
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name][0], 16) == 0, name
    assert status["NoNewPrivs"] == ["1"]
    assert status["Seccomp"] == ["2"]
    assert status["Uid"] == ["0"] * 4
    assert status["Gid"] == ["0"] * 4


def test_its_root_is_no_id_that_the_host_gives_rights_to(box: Box) -> None:
    mapped = box.run('print(open("/proc/self/uid_map").read())').out.split()
    if box.kind == "root":
        assert mapped == ["0", str(UID_BASE), "65536"]
    else:
        assert mapped == ["0", str(box.uid), "1"]


def test_it_sees_its_own_processes_only(box: Box) -> None:
    code = 'import os; print(sorted(int(name) for name in os.listdir("/proc") if name.isdigit()))'
    assert box.run(code).out.strip() == "[1, 2]"


def test_every_namespace_is_its_own(box: Box) -> None:
    code = 'import json, os; print(json.dumps({n: os.readlink(f"/proc/self/ns/{n}") for n in os.listdir("/proc/self/ns")}))'
    inside = box.run(code).json()
    for name in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
        assert inside[name] != os.readlink(f"/proc/self/ns/{name}"), name


def test_its_host_name_and_its_root_are_its_own(box: Box) -> None:
    code = 'import json, os, socket; print(json.dumps([socket.gethostname(), os.getcwd(), sorted(os.listdir("/"))]))'
    name, cwd, root = box.run(code).json()
    assert name == "box"
    assert cwd == "/app"
    # The interpreter and our source lie where they lie on the host, which may be any folder of its root.
    mounted = {mount.target.split("/")[1] for mount in box.mounts()}
    assert set(root) <= {"app", "dev", "etc", "proc", "root", "sys", "tmp", "work", *mounted}


def test_its_network_is_loopback_alone_and_up(box: Box) -> None:
    code = """
import json, socket
names = [name for _, name in socket.if_nameindex()]
server = socket.create_server(("127.0.0.1", 80))
client = socket.create_connection(server.getsockname())
try:
    socket.create_connection(("192.0.2.1", 80), timeout=2)
except OSError as problem:
    outside = problem.errno
print(json.dumps([names, outside]))
"""
    names, outside = box.run(code).json()
    assert names == ["lo"]
    assert outside == 101  # ENETUNREACH


def test_its_first_process_is_out_of_reach(box: Box) -> None:
    code = """
import errno, json, os, signal
def tried(do):
    try:
        do()
        return None
    except OSError as problem:
        return errno.errorcode[problem.errno]
print(json.dumps([
    [tried(lambda: os.listdir("/proc/1/" + name)) for name in ("root", "cwd", "fd")],
    [tried(lambda: open("/proc/1/" + name).read()) for name in ("environ", "mem", "maps")],
    [tried(lambda: os.readlink("/proc/1/" + name)) for name in ("exe", "ns/mnt", "root")],
]))
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    os.kill(1, number)
print("alive")
"""
    ended = box.run(code)
    first, *_ = ended.out.splitlines()
    assert set(first.replace("[", "").replace("]", "").replace(" ", "").split(",")) <= {'"EACCES"', '"EPERM"'}
    assert ended.out.endswith("alive\n")
    assert ended.exited["cause"] == "exit"


def test_killing_everything_ends_the_container_and_nothing_else(box: Box) -> None:
    other = box.start(box.spec("import signal; signal.pause()"))
    code = """
import os, signal
if os.fork() == 0:
    signal.pause()
os.kill(-1, signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = box.run(code)
    assert ended.exited["signal"] == 9
    assert os.path.exists(f"/proc/{other.message['pid']}")
    box.say({"t": "kill", "container": other.spec.id})
    assert box.finish(other).exited["cause"] == "killed"


def test_descriptors_are_exactly_those_that_it_is_given(box: Box) -> None:
    code = """
import json, os
opened = {}
for number in range(1000):
    try:
        opened[number] = os.readlink(f"/proc/self/fd/{number}")
    except FileNotFoundError:
        pass
print(json.dumps(opened))
"""
    opened = box.run(code).json()
    assert sorted(opened) == ["0", "1", "2", "3", "4"]
    assert opened["0"] == "/dev/null"
    assert all(opened[number].startswith("socket:") for number in "34")


def test_what_is_written_stays_inside(box: Box) -> None:
    code = """
import os
for path in ("/app/made", "/tmp/made", "/dev/shm/made", "/made"):
    open(path, "w").write("x")
print(open("/app/made").read())
"""
    assert box.run(code).out == "x\n"
    assert os.listdir(box.top / "lower" / "app") == []
    assert (
        box.run('import os; print(os.path.exists("/tmp/made"), os.path.exists("/app/made"))').out
        == "False False\n"
    )


def test_a_lower_file_that_all_may_write_is_copied_up(box: Box) -> None:
    below = box.top / "lower" / "app" / "data.txt"
    below.write_text("old")
    below.chmod(0o666)
    box.give(below)
    ended = box.run('open("/app/data.txt", "w").write("new"); print(open("/app/data.txt").read())')
    assert ended.out == "new\n", ended.err
    assert below.read_text() == "old"


def test_what_is_mounted_read_only_cannot_be_written(box: Box) -> None:
    code = f"""
import errno
for path in ("/usr/made", "{box.top}/src/made", "/dev/made", "/proc/sys/kernel/hostname"):
    try:
        open(path, "w")
        print("written", path)
    except OSError as problem:
        print(errno.errorcode[problem.errno])
"""
    assert set(box.run(code).out.split()) <= {"EROFS", "EACCES"}


def test_its_mounts_are_those_that_it_was_given_and_name_no_place_of_the_host(box: Box) -> None:
    code = 'print(open("/proc/self/mountinfo").read())'
    lines = box.run(code).out.splitlines()
    shown = {line.split()[4] for line in lines if line}
    own = {"/", "/dev", "/dev/pts", "/dev/shm", "/proc"} | {
        f"/dev/{n}" for n in ("null", "zero", "full", "random", "urandom", "tty")
    }
    given = {mount.target for mount in box.mounts()}
    # What this machine has mounted below one of them is there too.
    given |= {path for path in mount_points() if any(path.startswith(f"{target}/") for target in given)}
    assert {path for path in shown - own - given if not path.startswith("/proc/")} == set()
    assert not any(str(box.state) in line for line in lines)


@pytest.mark.parametrize("rung", ["parked", "exec"])
def test_both_rungs_give_the_same_sandbox(box: Box, rung: str) -> None:
    env = {"PYTHONPATH": f"{box.top / 'modules'}:{box.top / 'src'}"}
    started = box.start(box.spec(_STATUS, interpreter=box.python if rung == "exec" else None, env=env))
    assert started.message["rung"] == rung
    status = box.finish(started).json()
    assert int(status["CapEff"][0], 16) == 0
    assert status["Seccomp"] == ["2"]
