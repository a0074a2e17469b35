"""What hostile code tries in containers of OCI runtimes, and what it meets there; gVisor is judged by effects on the host."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from squall.runtime.syscall_numbers import NUMBERS
from tests.linux.runtime import probes
from tests.linux.runtime.oci_box import WAIT, Oci

_MACHINE = os.uname().machine
_NUMBERS = {"NUMBERS": " ".join(f"{name}={number}" for name, number in NUMBERS.get(_MACHINE, {}).items())}
_EVIL = """#!{python}
import os, socket, time
line = socket.socket(fileno=0)
line.send(b"\\x01\\0\\0\\0\\0")
line.send(bytes.fromhex(os.environ["SAYS"]))
time.sleep(1)
"""


def inside(oci: Oci, probe: str) -> dict[str, str]:
    """What `probe` meets in the container."""
    found: dict[str, str] = oci.run(probes.program(probe), env=_NUMBERS).json()
    return found


_REFUSALS: dict[str, tuple[str, Callable[[dict[str, str]], bool]]] = {
    "E01 E02 E03": (
        probes.NAMESPACES,
        lambda met: (
            met.pop("clone3") == "ENOSYS"
            and met.pop("setns") == "EPERM"
            and {got for name, got in met.items() if not name.startswith("open ns")} == {"exit 1"}
        ),
    ),
    "E04": (probes.MOUNTS, lambda met: set(met.values()) == {"EPERM"}),
    "E05": (probes.DEVICES, lambda met: met.pop("mkfifo") == "done" and set(met.values()) == {"EPERM"}),
    "E06": (
        probes.OTHERS,
        lambda met: (
            met["pidfd_getfd"] == met["kcmp"] == "EPERM"
            and met["ptrace outside"] == met["process_vm_readv outside"] == "ESRCH"
            and met["ptrace inside"] == "done"
            and met["ptrace init"] == "EPERM"
        ),
    ),
    "E07 E11 E12": (probes.SUBSYSTEMS, lambda met: set(met.values()) == {"EPERM"}),
    "E08": (probes.MACHINE, lambda met: set(met.values()) == {"EPERM"}),
    "E09": (
        probes.SOCKETS,
        lambda met: (
            {met.pop(name) for name in ("tcp", "udp6", "unix", "route", "cloexec tcp")} == {"done"}
            and set(met.values()) <= {"EPERM", "EAFNOSUPPORT"}
        ),
    ),
    "E14 E15 E16": (
        probes.KERNEL_FILES,
        lambda met: set(met.values()) <= {"EROFS", "EACCES", "EPERM", "ENOENT", "empty"},
    ),
}


def test_hostile_code_meets_what_it_meets_in_a_sandbox(shared: Oci) -> None:
    met = {checks: inside(shared, probe) for checks, (probe, _) in _REFUSALS.items()}
    wrong = {checks: met[checks] for checks, (_, holds) in _REFUSALS.items() if not holds(dict(met[checks]))}
    assert not wrong


@pytest.mark.skipif(_MACHINE != "x86_64", reason="needs linux: the foreign ABIs of x86-64")
def test_e10_a_foreign_abi_ends_the_process(shared: Oci) -> None:
    assert inside(shared, probes.FOREIGN) == {"x32": "SIGSYS", "i386": "SIGSYS"}


def test_e17_e20_no_process_and_no_id_of_the_host_is_seen(oci: Oci) -> None:
    code = f"""
import json, os
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(json.dumps([os.path.exists("/proc/{os.getpid()}"), os.path.exists("/proc/self/root/{oci.box.top.name}"),
    max(int(pid) for pid in os.listdir("/proc") if pid.isdigit()) < 30, int(status["CapEff"], 16)]))
print(open("/proc/self/uid_map").read().split()[1])
"""
    ended = oci.run(code)
    seen, own = ended.out.splitlines()
    assert json.loads(seen) == [False, False, True, 0]
    assert own != "0" or oci.level == "gvisor"


def test_what_gvisor_does_reaches_no_kernel_but_its_own(gvisor: Oci) -> None:
    """Judged by its effects on the host, whatever the calls inside say."""
    mounts, name = Path("/proc/self/mountinfo").read_text(), os.uname().nodename
    met = inside(gvisor, probes.MOUNTS + probes.MACHINE + probes.DEVICES + probes.SUBSYSTEMS)
    assert (Path("/proc/self/mountinfo").read_text(), os.uname().nodename) == (mounts, name)
    assert met["mount"] != "done"
    release, version = gvisor.run(
        "import os; print(os.uname().release); print(open('/proc/version').read())"
    ).out.split("\n")[:2]
    assert release != os.uname().release
    assert os.uname().release not in version


def test_a_pid_1_of_the_image_that_says_nonsense_ends_its_container_and_nobody_else(gvisor: Oci) -> None:
    evil = gvisor.box.top / "lower" / "app" / "evil"
    evil.write_text(_EVIL.format(python=gvisor.box.python))
    evil.chmod(0o755)
    gvisor.box.give(evil)
    other = gvisor.start(WAIT)
    for said in (b"\x02\0\0\0\0no json", b"\x07\0\0\0\0orphan", b"?", b"\xff\0\0\0\0"):
        ended = gvisor.run(interpreter="/app/evil", env={"SAYS": said.hex()})
        assert ended.exited["cause"] in {"signal", "exit"}, (said, ended)
    assert other.read_line() == "up"
    gvisor.kill(other)


@pytest.mark.needs("root")  # to look into processes that have other rights
def test_the_runtime_has_no_right_over_the_host(oci: Oci) -> None:
    """It is started as root of the container's user namespace, so what escapes from it is no root of the host."""
    running = oci.start(WAIT)
    assert running.read_line() == "up"
    first = running.message["init_pid"]
    own = os.stat("/proc/self/ns/user").st_ino
    below = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    assert below
    for pid in (str(first), *below):
        assert os.stat(f"/proc/{pid}/ns/user").st_ino != own
        assert Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0] != "0"
    oci.kill(running)
