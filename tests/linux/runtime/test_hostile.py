"""What hostile code tries inside a container, what it meets there, and that the same works outside.

E-numbers name the checks of the threat model. The positive control runs the same probe without a sandbox, as root: a
probe that could not work there either would prove nothing.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from squall.runtime.spec import Mount
from squall.runtime.syscall_numbers import NUMBERS
from tests.linux.runtime import probes
from tests.linux.runtime.box import Box

MACHINE = os.uname().machine
_ENV = {"NUMBERS": " ".join(f"{name}={number}" for name, number in NUMBERS.get(MACHINE, {}).items())}
_PATHS = ("parked", "exec", "build")
_EPERM = "exit 1"


def inside(box: Box, probe: str, path: str = "parked") -> dict[str, str]:
    """What `probe` meets in a sandbox: forked, with a new interpreter, or with the powers of an image build."""
    env = {**_ENV, "PYTHONPATH": f"{box.top / 'modules'}:{box.top / 'src'}"}
    changed: dict[str, Any] = {
        "parked": {},
        "exec": {"interpreter": box.python},
        "build": {"capabilities": "build", "interpreter": box.python},
    }[path]
    found: dict[str, str] = box.run(probes.program(probe), env=env, **changed).json()
    return found


def outside(box: Box, probe: str) -> dict[str, str]:
    """What it meets without a sandbox: as root, where anything that can work does."""
    found: dict[str, str] = box.run_process(probes.program(probe), env=_ENV).json()
    return found


def controlled(box: Box, probe: str, refused: set[str]) -> None:
    """The positive control: as root and without a sandbox no label of `refused` meets what it meets inside."""
    if box.kind != "root":
        return
    unproven = {
        label: met
        for label, met in outside(box, probe).items()
        if label in refused and met in {"EPERM", _EPERM}
    }
    assert not unproven, "these would be refused anywhere"


@pytest.mark.parametrize("path", _PATHS)
def test_e01_e02_e03_no_new_and_no_other_namespaces(box: Box, path: str) -> None:
    met = inside(box, probes.NAMESPACES, path)
    assert met.pop("clone3") == "ENOSYS"
    assert met.pop("setns") == "EPERM"
    assert {met.pop(name) for name in list(met) if name.startswith("open ns")} <= {
        "EACCES",
        "EPERM",
        "ENOENT",
    }
    assert set(met.values()) == {_EPERM}, met
    assert len(met) == 14
    controlled(box, probes.NAMESPACES, set(met))


@pytest.mark.parametrize("path", _PATHS)
def test_e04_no_mounts_and_no_other_root(box: Box, path: str) -> None:
    met = inside(box, probes.MOUNTS, path)
    assert set(met.values()) == {"EPERM"}, met


def test_e04_control_the_same_calls_reach_the_kernel_outside(own_box: Box) -> None:
    if own_box.kind != "root":
        pytest.skip("needs root: run the tests as root")
    # In a mount namespace of its own, so that the host keeps its mounts.
    probe = f"libc.unshare(0x00020000); libc.mount(b'', b'/', b'', 0x44000, None)\n{probes.MOUNTS}"
    met = outside(own_box, probe)
    assert "EPERM" not in set(met.values()), met


@pytest.mark.parametrize("path", _PATHS)
def test_e05_no_devices_and_no_whiteouts(box: Box, path: str) -> None:
    met = inside(box, probes.DEVICES, path)
    assert met.pop("mkfifo") == "done"
    assert set(met.values()) == {"EPERM"}, met


def test_e06_processes_outside_are_not_there_and_inside_can_be_debugged(box: Box) -> None:
    met = inside(box, probes.OTHERS)
    assert met["pidfd_getfd"] == met["kcmp"] == "EPERM"
    assert met["ptrace outside"] == met["process_vm_readv outside"] == "ESRCH"
    assert met["ptrace inside"] == "done"
    assert met["ptrace init"] == "EPERM"
    controlled(box, probes.OTHERS, {"pidfd_getfd", "kcmp"})


@pytest.mark.parametrize("path", _PATHS)
def test_e07_e11_e12_no_subsystems_that_attacks_go_through(box: Box, path: str) -> None:
    met = inside(box, probes.SUBSYSTEMS, path)
    assert set(met.values()) == {"EPERM"}, met
    controlled(box, probes.SUBSYSTEMS, set(met))


@pytest.mark.parametrize("path", _PATHS)
def test_e08_the_machine_itself_cannot_be_changed(box: Box, path: str) -> None:
    met = inside(box, probes.MACHINE, path)
    assert set(met.values()) == {"EPERM"}, met
    controlled(box, probes.MACHINE, set(met) - {"kexec_load", "init_module"})


@pytest.mark.parametrize("path", _PATHS)
def test_e09_no_sockets_but_the_everyday_ones(box: Box, path: str) -> None:
    met = inside(box, probes.SOCKETS, path)
    for name in ("tcp", "udp6", "unix", "route", "cloexec tcp"):
        assert met.pop(name) == "done", name
    assert set(met.values()) <= {"EPERM", "EAFNOSUPPORT"}, met


def test_e09_control_some_of_them_exist_outside(own_box: Box) -> None:
    if own_box.kind != "root":
        pytest.skip("needs root: run the tests as root")
    met = outside(own_box, probes.SOCKETS)
    assert {met["packet"], met["raw ip"], met["audit"]} == {"done"}


@pytest.mark.skipif(MACHINE != "x86_64", reason="needs linux: the foreign ABIs of x86-64")
def test_e10_a_foreign_abi_ends_the_process(box: Box) -> None:
    met = inside(box, probes.FOREIGN)
    assert met == {"x32": "SIGSYS", "i386": "SIGSYS"}
    outside_met = outside(box, probes.FOREIGN)
    assert "SIGSYS" not in outside_met.values()


@pytest.mark.parametrize("path", _PATHS)
def test_e14_e15_e16_what_the_kernel_shows_of_the_host_is_covered(box: Box, path: str) -> None:
    met = inside(box, probes.KERNEL_FILES, path)
    writes = {label: got for label, got in met.items() if label.startswith("write")}
    assert set(writes.values()) <= {"EROFS", "EACCES", "EPERM", "ENOENT"}, writes
    others = {label: got for label, got in met.items() if label not in writes}
    assert set(others.values()) <= {"empty", "ENOENT", "EACCES", "EPERM"}, others


def test_e17_no_process_of_the_host_can_be_seen(box: Box) -> None:
    code = f"""
import json, os
print(json.dumps([pid for pid in os.listdir("/proc") if pid.isdigit()]
    + [os.path.exists("/proc/{os.getpid()}"), os.path.exists("/proc/self/root/{box.top.name}")]))
"""
    assert box.run(code).json() == ["1", "2", False, False]


def test_e18_e19_a_program_that_would_gain_powers_gains_none(own_box: Box) -> None:
    if own_box.kind != "root":
        pytest.skip("needs root: run the tests as root")
    planted = own_box.top / "lower" / "app" / "planted"
    planted.write_bytes(Path("/bin/cat").read_bytes())
    planted.chmod(0o6755)
    # cap_sys_admin+ep, as a file in a layer might carry it.
    os.setxattr(planted, "security.capability", bytes.fromhex("0100000200002000" + "00" * 12))
    argv = ("/app/planted", "/proc/self/status")
    said = dict(line.split(":", 1) for line in own_box.run(argv=argv).out.splitlines())
    assert int(said["CapEff"], 16) == int(said["CapPrm"], 16) == 0
    assert said["Uid"].split() == ["0"] * 4
    assert said["NoNewPrivs"].strip() == "1"


def test_e18_a_program_with_set_user_id_of_another_user_stays_with_ours(own_box: Box) -> None:
    if own_box.kind != "root":
        pytest.skip("needs root: run the tests as root")
    planted = own_box.top / "lower" / "app" / "planted"
    planted.write_bytes(Path("/usr/bin/id").read_bytes())
    os.chown(planted, 0x6000_0000 + 7, 0x6000_0000 + 7)
    planted.chmod(0o6755)
    assert own_box.run(argv=("/app/planted",)).out.startswith("uid=0")


def test_e20_its_ids_are_no_ids_of_the_host(own_box: Box) -> None:
    mapped = own_box.run('print(open("/proc/self/uid_map").read())').out.split()
    assert mapped[1] != "0"


def test_e27_an_image_of_links_stays_contained(box: Box) -> None:
    lower, secret = box.top / "lower", box.top / "secret"
    secret.mkdir()
    box.give(secret)
    for name in ("dev", "proc", "sys", "tmp"):
        (lower / name).symlink_to(secret)
    (lower / "links").symlink_to("/../../../../app")
    code = """
import os
print(sorted(os.listdir("/dev")), os.path.isdir("/proc/self"), os.listdir("/app/deep/down") != [])
"""
    ended = box.run(code, mounts=(*box.mounts(), Mount(source="/usr/bin", target="/links/deep/down")))
    assert "'null'" in ended.out
    assert ended.out.endswith("True True\n")
    assert list(secret.iterdir()) == []


def test_e35_e39_e49_what_it_may_use_is_bounded(box: Box) -> None:
    met = inside(box, probes.LIMITS)
    assert {met["realtime"], met["nice"], met["raise rtprio"]} <= {"EPERM", "EACCES"}
    assert met["mlock"] in {"ENOMEM", "EPERM"}
    assert int(met["terminals made"]) <= 64


def test_e64_what_one_container_is_told_is_in_no_memory_of_another(box: Box) -> None:
    """Secrets come over the channel, which the launcher passes on and never reads."""
    canary = os.urandom(16)
    other = box.start(box.spec("import signal; signal.pause()"))
    other.channel.sendall(canary)
    code = f"""
import hashlib, os, re
planted = bytes.fromhex(os.environ["PLANTED"])
found = False
for line in open("/proc/self/maps"):
    start, end, modes = re.match("([0-9a-f]+)-([0-9a-f]+) (....)", line).groups()
    if modes.startswith("rw"):
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            memory.seek(int(start, 16))
            chunk = memory.read(int(end, 16) - int(start, 16))
        # Only the first two bytes are told, so that looking for it does not put it there.
        for at in re.finditer(re.escape({canary[:2]!r}), chunk):
            found |= hashlib.sha256(chunk[at.start():at.start() + 16]).hexdigest() == "{sha256(canary).hexdigest()}"
print(found)
"""
    assert box.run(code, env={"PLANTED": ""}).out == "False\n"
    assert box.run(code, env={"PLANTED": canary.hex()}).out == "True\n"
    box.say({"t": "kill", "container": other.spec.id})
    box.finish(other)


def test_e65_siblings_do_not_share_their_luck(box: Box) -> None:
    code = "import random, secrets, uuid; print(random.random(), secrets.token_hex(8), uuid.uuid4())"
    first, second = box.run(code).out.split(), box.run(code).out.split()
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_e66_the_interpreter_cannot_be_written_to(box: Box) -> None:
    code = """
import errno, os
for path in ("/proc/self/exe", os.readlink("/proc/self/exe")):
    try:
        os.open(path, os.O_WRONLY)
        print("opened")
    except OSError as problem:
        print(errno.errorcode[problem.errno])
"""
    assert set(box.run(code).out.split()) <= {"ETXTBSY", "EROFS", "EACCES", "ENOENT"}


def test_e70_the_environment_of_an_image_reaches_nobody_else(box: Box) -> None:
    env = {"LD_PRELOAD": "/app/evil.so", "PYTHONSTARTUP": "/app/evil.py", "BASH_ENV": "/app/evil.sh"}
    running = box.start(box.spec("import os; print(sorted(os.environ), flush=True)", env=env))
    names = running.read_line()
    assert "LD_PRELOAD" in names
    for pid in (box.launcher.pid,):
        assert b"evil" not in Path(f"/proc/{pid}/environ").read_bytes()
    box.finish(running)


def test_the_level_process_says_what_it_does_not_stop(own_box: Box) -> None:
    """The same probes without a sandbox: most things work. This is why that level is refused for others' code."""
    met = outside(own_box, probes.SUBSYSTEMS)
    assert met["personality"] == "done"
    assert outside(own_box, probes.SOCKETS)["tcp"] == "done"
