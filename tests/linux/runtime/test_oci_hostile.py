"""What is of OCI runtimes alone: whose their processes are, and what an image's first process says. tests/linux/hostile tries the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.linux.runtime.oci_box import WAIT, Oci

_EVIL = """#!{python}
import os, socket, time
line = socket.socket(fileno=0)
line.send(b"\\x01\\0\\0\\0\\0")
line.send(bytes.fromhex(os.environ["SAYS"]))
time.sleep(1)
"""


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


def test_the_kernel_of_gvisor_is_another_one(gvisor: Oci) -> None:
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
