"""How containers end, and that each end is told apart: exit, signal, memory, processes, our own kill."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from squall.runtime import scratch
from squall.runtime.spec import Limits
from tests.linux.runtime.box import Box, a_box, eventually

_MIB = 1 << 20
_WAIT = "import signal; print('up', flush=True); signal.pause()"


def test_an_exit_keeps_its_code(box: Box) -> None:
    exited = box.run("import sys; sys.exit(7)").exited
    assert (exited["code"], exited["signal"], exited["cause"]) == (7, None, "exit")


def test_a_signal_keeps_its_number(box: Box) -> None:
    exited = box.run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)").exited
    assert (exited["code"], exited["signal"], exited["cause"]) == (None, signal.SIGSEGV, "signal")


@pytest.mark.parametrize("what", ["heap", "shm", "child", "child of a thread", "memfd"])
def test_too_much_memory_ends_the_whole_container_and_says_so(box: Box, what: str) -> None:
    code = {
        "heap": "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "shm": "f = open('/dev/shm/x', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()",
        "child": "import os, signal\nif os.fork() == 0:\n x = []\n while True: x.append(bytearray(1 << 20))\nsignal.pause()",
        "child of a thread": """
import signal, subprocess, sys, threading
hog = [sys.executable, "-c", "x = []\\nwhile True: x.append(bytearray(1 << 20))"]
threading.Thread(target=lambda: (subprocess.Popen(hog), threading.Event().wait()), daemon=True).start()
signal.pause()
""",
        "memfd": "import mmap\nx = []\nwhile True:\n m = mmap.mmap(-1, 1 << 20); m.write(b'x' * (1 << 20)); x.append(m)",
    }[what]
    limit = 64 * _MIB
    ended = box.run(code, limits=Limits(memory_bytes=limit))
    if what == "shm" and ended.exited["cause"] == "exit":
        # As large as the limit, it can be full just before the limit is met.
        assert "No space left" in ended.err
        return
    assert ended.exited["cause"] == "oom", ended
    assert ended.exited["memory_limit_bytes"] == limit
    assert ended.exited["memory_peak_bytes"] >= limit * 0.9


def test_memory_below_the_limit_is_left_alone_and_its_peak_is_told(box: Box) -> None:
    code = "x = bytearray(40 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\nimport time; time.sleep(0.3)"
    exited = box.run(code, limits=Limits(memory_bytes=400 * _MIB)).exited
    assert exited["cause"] == "exit"
    assert 40 * _MIB <= exited["memory_peak_bytes"] < 120 * _MIB


def test_a_fork_bomb_stays_inside(box: Box) -> None:
    code = """
import os, signal
made = 0
try:
    while True:
        if os.fork() == 0:
            signal.pause()
        made += 1
except BlockingIOError:
    print(made)
    raise
"""
    ended = box.run(code, limits=Limits(pids=20))
    # The runner and the first process count too.
    assert 15 <= int(ended.out) < 20
    if box.kind == "root":
        assert ended.exited["cause"] == "pids"
    else:
        assert ended.exited["code"] == 1


def test_a_thread_bomb_stays_inside(box: Box) -> None:
    code = """
import threading
gate = threading.Event()
made = 0
try:
    while True:
        threading.Thread(target=gate.wait, daemon=True).start()
        made += 1
except RuntimeError:
    print(made, flush=True)
gate.set()
"""
    assert 15 <= int(box.run(code, limits=Limits(pids=20)).out) < 20


def test_what_a_control_group_limits_is_written_there(own_box: Box) -> None:
    if own_box.kind != "root":
        pytest.skip("needs root: run the tests as root")
    given = Limits(cpu_milli=500, pids=33, memory_bytes=128 * _MIB)
    running = own_box.start(own_box.spec(_WAIT, limits=given))
    groups = own_box.leftovers()["groups"]
    found = {
        name: (Path(group) / name).read_text().strip()
        for group in groups
        for name in ("cpu.cfs_quota_us", "cpu.max", "pids.max", "memory.limit_in_bytes", "memory.max")
        if (Path(group) / name).exists()
    }
    assert found["pids.max"] == "33"
    assert str(128 * _MIB) in {found.get("memory.limit_in_bytes"), found.get("memory.max")}
    assert found.get("cpu.cfs_quota_us", found.get("cpu.max")) in {"50000", "50000 100000"}
    own_box.say({"t": "kill", "container": running.spec.id})
    own_box.finish(running)


def test_too_many_open_files_is_an_error_inside(box: Box) -> None:
    code = "import os\nx = []\ntry:\n while True: x.append(os.open('/dev/null', 0))\nexcept OSError as e: print(e.errno)"
    assert box.run(code, limits=Limits(nofile=64)).out == "24\n"


def test_too_much_disk_ends_the_container_and_says_so(box: Box) -> None:
    code = "import time\nf = open('/tmp/x', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush(); time.sleep(0.01)"
    assert box.run(code, limits=Limits(disk_bytes=8 * _MIB)).exited["cause"] == "disk"


def test_killed_on_request_is_no_crash(box: Box) -> None:
    running = box.start(box.spec(_WAIT))
    assert running.read_line() == "up"
    box.say({"t": "kill", "container": running.spec.id})
    exited = box.finish(running).exited
    assert exited["cause"] == "killed"
    assert exited["signal"] == signal.SIGKILL


def test_stopped_is_asked_first(box: Box) -> None:
    code = """
import os, signal
# Held back and waited for: one that came between a look and a pause would be slept over.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.write(1, b"up\\n")
signal.sigwait([signal.SIGTERM])
os.write(1, b"bye\\n")
"""
    running = box.start(box.spec(code))
    assert running.read_line() == "up"
    box.say({"t": "stop", "container": running.spec.id, "grace_s": 20})
    ended = box.finish(running)
    assert ended.out == "bye\n", ended
    assert (ended.exited["code"], ended.exited["cause"]) == (0, "killed")


def test_stopped_and_deaf_is_killed_after_its_grace(box: Box) -> None:
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        + _WAIT
        + "\nwhile True: signal.pause()"
    )
    running = box.start(box.spec(code))
    assert running.read_line() == "up"
    box.say({"t": "stop", "container": running.spec.id, "grace_s": 0.2})
    exited = box.finish(running).exited
    assert (exited["signal"], exited["cause"]) == (signal.SIGKILL, "killed")


def test_the_end_of_the_runner_is_the_end_of_all(box: Box) -> None:
    code = """
import os, signal
for _ in range(3):
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            signal.pause()
        os._exit(0)
"""
    running = box.start(box.spec(code))
    first = running.message["init_pid"]
    assert box.finish(running).exited["cause"] == "exit"
    assert not _is_alive(first)


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize("kind", ["root", "user"])
def test_a_launcher_killed_with_9_takes_its_containers_along(kind: str) -> None:
    if kind == "root" and os.geteuid() != 0:
        pytest.skip("needs root: run the tests as root")
    with a_box(kind) as box:
        running = [box.start(box.spec(_WAIT)) for _ in range(2)]
        running.append(box.start(box.process_spec(_WAIT)))
        pids = [one.message[name] for one in running for name in ("pid", "init_pid")]
        for one in running:
            assert one.read_line() == "up"
        os.kill(box.launcher.pid, signal.SIGKILL)
        box.launcher.wait()
        eventually(
            lambda: not any(map(_is_alive, pids)), lambda: str([pid for pid in pids if _is_alive(pid)])
        )
        for one in running:
            one.close()


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize("kind", ["root", "user"])
def test_what_a_killed_launcher_left_is_removed_by_the_next(kind: str) -> None:
    if kind == "root" and os.geteuid() != 0:
        pytest.skip("needs root: run the tests as root")
    with a_box(kind) as box:
        running = box.start(box.spec(_WAIT))
        assert running.read_line() == "up"
        os.kill(box.launcher.pid, signal.SIGKILL)
        box.launcher.wait()
        eventually(lambda: not _is_alive(running.message["init_pid"]))
        left = box.state / "scratch" / running.spec.id
        assert left.exists()
        box.agent.close()
        running.close()
        eventually(lambda: scratch.is_abandoned(str(left), now_s=time.time()))
        box.launch()
        box.run()
        eventually(lambda: not left.exists())
        eventually(lambda: not box.leftovers()["groups"], lambda: str(box.leftovers()))


def test_terminating_a_launcher_ends_and_cleans_up_everything(own_box: Box) -> None:
    running = own_box.start(own_box.spec(_WAIT))
    assert running.read_line() == "up"
    own_box.launcher.terminate()
    assert own_box.launcher.wait(20) == 0
    assert not _is_alive(running.message["pid"])
    assert not any(Path(own_box.state / "scratch").iterdir())
    running.close()


def test_a_deep_and_closed_tree_is_removed(box: Box) -> None:
    code = """
import os
os.chdir("/tmp")
for _ in range(300):
    os.mkdir("d", 0o700)
    os.chdir("d")
os.mkdir("/tmp/closed", 0o700)
os.mkdir("/tmp/closed/inner")
os.chmod("/tmp/closed", 0)
"""
    assert box.run(code).exited["code"] == 0


def test_kills_in_the_middle_of_forking_leave_nobody(own_box: Box) -> None:
    code = "import os\nprint('up', flush=True)\nwhile True:\n if os.fork() == 0: os.setsid()"
    for _ in range(10):
        running = own_box.start(own_box.spec(code, limits=Limits(pids=60)))
        assert running.read_line() == "up"
        time.sleep(0.01)
        own_box.say({"t": "kill", "container": running.spec.id})
        own_box.finish(running)
        assert not _is_alive(running.message["init_pid"])


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


def test_a_launcher_that_stumbles_over_a_message_says_so_to_who_waits_for_its_container(box: Box) -> None:
    running = box.start(box.spec(_WAIT))
    name = running.message["container"]
    box.say({"t": "stop", "container": name, "grace_s": []})
    refused = box.hear("refused", of=name).message
    assert "cannot be followed" in refused["message"]
    box.say({"t": "kill", "container": name})
    assert box.finish(running).exited["cause"] == "killed"
