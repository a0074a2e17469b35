"""Containers of crun, runc and gVisor: like any other to the agent, as root and as an ordinary user."""

from __future__ import annotations

import array
import os
import signal
import socket
from typing import Any

from squall.runtime.spec import Limits
from squall.wire.codec import PREFIX, VERSION, Kind
from tests.linux.runtime.box import Running, read_to_end
from tests.linux.runtime.oci_box import WAIT, Oci

_MIB = 1 << 20
_ECHO = """
import array, socket
line = socket.socket(fileno=control)
known = 0
while True:
    data, ancillary, *_ = line.recvmsg(1000, 100)
    if not data:
        break
    channel = socket.socket(fileno=array.array("i", ancillary[0][2])[0])
    known += 1
    while got := channel.recv(1000):
        channel.sendall(got.replace(b"?", str(known).encode()))
    channel.close()
"""


def test_it_runs_says_its_level_and_leaves_nothing(oci: Oci) -> None:
    running = oci.start("import os; print(os.getpid(), os.getcwd(), os.uname().nodename)")
    assert (running.message["level"], running.message["rung"]) == (oci.level, oci.level)
    assert running.message["pid"] != running.message["init_pid"]
    ended = oci.box.finish(running)
    pid, cwd, host = ended.out.split()
    assert int(pid) > 1
    assert (cwd, host) == ("/app", "box")
    assert (ended.exited["code"], ended.exited["cause"]) == (0, "exit")


def test_an_exit_keeps_its_code_also_one_that_looks_like_a_signal(oci: Oci) -> None:
    for code in (7, 137):
        exited = oci.run(f"import sys; sys.exit({code})").exited
        assert (exited["code"], exited["signal"], exited["cause"]) == (code, None, "exit")


def test_a_signal_keeps_its_number_also_one_sent_to_oneself(oci: Oci) -> None:
    for number in (signal.SIGSEGV, signal.SIGKILL):
        exited = oci.run(f"import os; os.kill(os.getpid(), {int(number)})").exited
        assert (exited["code"], exited["signal"], exited["cause"]) == (None, number, "signal")


def test_too_much_memory_ends_the_whole_container_and_says_so(oci: Oci) -> None:
    code = "x = []\nwhile True: x.append(bytearray(1 << 20))"
    ended = oci.run(code, limits=Limits(memory_bytes=160 * _MIB))
    assert ended.exited["cause"] == "oom", ended
    assert ended.exited["memory_peak_bytes"] >= 140 * _MIB


def test_a_fork_bomb_stays_inside(oci: Oci) -> None:
    code = """
import os, signal
made = 0
try:
    while made < 300:
        if os.fork() == 0:
            signal.pause()
        made += 1
except OSError:
    pass
print(made)
"""
    ended = oci.run(code, limits=Limits(pids=20))
    # The runtime's own threads are below a control group's limit too, and gVisor's end with what meets it.
    assert ended.exited["cause"] in {"pids", "signal"} or 5 <= int(ended.out) < 300, ended


def test_killed_on_request_is_no_crash_and_leaves_nothing(oci: Oci) -> None:
    running = oci.start(WAIT)
    assert running.read_line() == "up"
    exited = oci.kill(running).exited
    assert (exited["cause"], exited["signal"]) == ("killed", signal.SIGKILL)
    assert not _is_alive(running.message["pid"])


def test_stopped_is_asked_first(oci: Oci) -> None:
    code = """
import os, signal
# Held back and waited for: one that came between a look and a pause would be slept over.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.write(1, b"up\\n")
signal.sigwait([signal.SIGTERM])
os.write(1, b"bye\\n")
"""
    running = oci.start(code)
    assert running.read_line() == "up"
    oci.box.say({"t": "stop", "container": running.spec.id, "grace_s": 20})
    ended = oci.box.finish(running)
    assert ended.out == "bye\n", ended
    assert (ended.exited["code"], ended.exited["cause"]) == (0, "killed")


def test_stopped_and_deaf_is_killed_after_its_grace(oci: Oci) -> None:
    running = oci.start(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        + WAIT
        + "\nwhile True: signal.pause()"
    )
    assert running.read_line() == "up"
    oci.box.say({"t": "stop", "container": running.spec.id, "grace_s": 0.2})
    exited = oci.box.finish(running).exited
    assert (exited["signal"], exited["cause"]) == (signal.SIGKILL, "killed")


def test_the_end_of_the_runner_is_the_end_of_all(oci: Oci) -> None:
    code = "import os, signal\nfor _ in range(3):\n if os.fork() == 0:\n  os.setsid()\n  signal.pause()"
    running = oci.start(code)
    assert oci.box.finish(running).exited["cause"] == "exit"
    assert not _is_alive(running.message["init_pid"])


def test_a_new_agent_finds_the_same_container_and_gets_a_new_channel(oci: Oci) -> None:
    first = oci.start(_ECHO)
    assert _asked(first) == b"1"
    first.close()
    oci.box.agent.close()
    oci.box.connect()
    oci.box.say({"t": "list"})
    (listed,) = oci.box.hear("containers").message["containers"]
    assert (listed["container"], listed["phase"], listed["level"]) == (first.spec.id, "running", oci.level)
    second = oci.box.attach(first.spec)
    assert second.message["pid"] == first.message["pid"]
    assert _asked(second) == b"2"
    oci.box.say({"t": "kill", "container": first.spec.id})
    oci.box.finish(second)


def test_a_value_lent_as_a_descriptor_arrives_and_comes_back_as_one(oci: Oci) -> None:
    """Where none can be passed on, its bytes are laid into memory on the other side."""
    size = 3 * _MIB + 5
    running = oci.start(_ECHO_FILES)
    fd = os.memfd_create("value", os.MFD_ALLOW_SEALING)
    os.write(fd, b"abc")
    os.truncate(fd, size)
    frame = _frame(b"?", fds=1)
    socket.send_fds(running.channel, [frame], [fd])
    os.close(fd)
    got, fds = _receive(running.channel, len(frame))
    assert got == _frame(b"1", fds=1)
    assert os.fstat(fds[0]).st_size == size
    assert os.pread(fds[0], 5, 0) == b"abc\0\0"
    os.close(fds[0])
    oci.kill(running)


def test_what_was_printed_comes_before_the_frame_that_followed_it(oci: Oci) -> None:
    code = """
import array, os, socket
line = socket.socket(fileno=control)
_, ancillary, *_ = line.recvmsg(1000, 100)
channel = socket.socket(fileno=array.array("i", ancillary[0][2])[0])
while got := channel.recv(1000):
    for number in range(20):
        os.write(log, b"o%d\\n" % number)
    channel.sendall(got)
"""
    running = oci.start(code)
    for _ in range(20):
        frame = _frame(b"x")
        running.channel.sendall(frame)
        assert _receive(running.channel, len(frame))[0] == frame
        running.log.setblocking(False)
        said = [running.log.recv(100) for _ in range(20)]
        assert said == [b"o%d\n" % number for number in range(20)]
    oci.kill(running)


def test_a_command_runs_beside_the_runner_without_powers(oci: Oci) -> None:
    running = oci.start(WAIT)
    assert running.read_line() == "up"
    script = "id -u; cat; grep -E 'CapEff|CapBnd' /proc/self/status; pwd; echo \"$OWN\"; exit 3"
    how: dict[str, Any] = {"env": {"PATH": "/usr/bin:/bin", "OWN": "set"}}
    stdin, stdout, stderr = _execute(oci, running, ["/bin/sh", "-c", script], **how)
    os.write(stdin, b"typed\n")
    os.close(stdin)
    said = read_to_end(stdout).split()
    assert said[:2] == ["0", "typed"], (said, read_to_end(stderr))
    assert int(said[3], 16) == int(said[5], 16) == 0
    assert said[6:] == ["/app", "set"]
    assert oci.box.hear("exec_exited").message["code"] == 3
    oci.kill(running)


def test_a_shell_has_a_terminal_that_cannot_be_typed_into(oci: Oci) -> None:
    running = oci.start(WAIT)
    assert running.read_line() == "up"
    code = (
        "import fcntl, os, termios\n"
        "print(os.isatty(0), os.get_terminal_size())\n"
        "try: fcntl.ioctl(0, termios.TIOCSTI, b'x'); print('typed')\n"
        "except OSError as e: print('refused', e.errno)\n"
    )
    (terminal,) = _execute(oci, running, [oci.box.python, "-c", code], tty=True, rows=31, cols=99)
    said = read_to_end(terminal)
    assert "True" in said
    assert "refused" in said, said
    assert "columns=99, lines=31" in said, said
    assert oci.box.hear("exec_exited").message["code"] == 0
    oci.kill(running)


def test_its_network_is_loopback_alone(oci: Oci) -> None:
    code = """
import socket
server = socket.create_server(("127.0.0.1", 80))
print(socket.create_connection(server.getsockname()).getpeername()[1])
print([name for _, name in socket.if_nameindex()])
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
except OSError as problem:
    print("refused")
"""
    assert oci.run(code).out.splitlines() == ["80", "['lo']", "refused"]


def test_a_runtime_that_cannot_start_is_refused_with_its_own_words_and_leaves_nothing(oci: Oci) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"runtime": ("/bin/false",)}, "/bin/false"),
        ({"runtime": ("/no/such/runtime",)}, "No such file"),
        ({"interpreter": "/no/such/python"}, "/no/such/python"),
        ({"lowers": ("/no/such/directory",)}, "MountRoot"),
    )
    for changed, words in cases:
        given: dict[str, Any] = {"runtime": oci.runtime, "interpreter": oci.box.python, **changed}
        spec = oci.box.spec(level=oci.level, **given)
        oci.box.say({"t": "start", "container": spec.id, "spec": spec.to_json()})
        refused = oci.box.hear("refused").message
        assert words in refused["message"], refused
        assert refused["remedy"]


def test_no_file_of_the_runtime_is_seen_and_none_of_its_descriptors(oci: Oci) -> None:
    code = """
import os
print(sorted({"bundle", "state", "log"}.intersection(os.listdir("/tmp"))), sorted(map(int, os.listdir("/proc/self/fd")))[:-1])
"""
    ended = oci.run(code)
    # Its three, the control and the log socket; the last is the directory that is listed.
    assert ended.out == "[] [0, 1, 2, 3, 4]\n", ended


_ECHO_FILES = """
import array, os, socket
line = socket.socket(fileno=control)
_, ancillary, *_ = line.recvmsg(1000, 100)
channel = socket.socket(fileno=array.array("i", ancillary[0][2])[0])
while True:
    got, fds, *_ = socket.recv_fds(channel, 1000, 4)
    if not got:
        break
    socket.send_fds(channel, [got.replace(b"?", b"1")], fds)
    for fd in fds:
        os.close(fd)
"""


def _frame(payload: bytes, *, fds: int = 0) -> bytes:
    return PREFIX.pack(VERSION, Kind.DATA, fds, 0, 1, 0, len(payload)) + payload


def _asked(running: Running) -> bytes:
    frame = _frame(b"?")
    running.channel.sendall(frame)
    return _receive(running.channel, len(frame))[0][-1:]


def _receive(channel: socket.socket, size: int) -> tuple[bytes, list[int]]:
    channel.settimeout(20)
    data, fds = b"", array.array("i")
    while len(data) < size:
        got, ancillary, *_ = channel.recvmsg(size - len(data), 100)
        assert got, "the channel ended"
        data += got
        for _, _, content in ancillary:
            fds.frombytes(content)
    return data, list(fds)


def _execute(oci: Oci, running: Running, argv: list[str], **how: Any) -> tuple[int, ...]:
    oci.box.say({"t": "exec", "container": running.spec.id, "exec": "e1", "argv": argv, **how})
    got = oci.box.hear("execed", "refused", of=running.spec.id)
    assert got.message["t"] == "execed", got.message
    return got.fds


def _is_alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")
