"""What a launcher keeps for the agents that come and go: containers, channels, output, ends, commands."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from squall.runtime import packet
from squall.runtime.agent_line import listen
from tests.linux.runtime.box import Box, eventually

# Echoes on each channel that it is given, saying how many there were before.
_ECHO = """
import array, json, os, socket
line = socket.socket(fileno=control)
known = 0
while True:
    data, ancillary, *_ = line.recvmsg(1000, 100)
    if not data:
        break
    channel = socket.socket(fileno=array.array("i", ancillary[0][2])[0])
    known += 1
    while got := channel.recv(1000):
        channel.sendall(f"{known} {os.getpid()} ".encode() + got)
    channel.close()
"""
_WAIT = "import signal; print('up', flush=True); signal.pause()"


def test_a_new_agent_finds_the_same_process_and_gets_a_new_channel(box: Box) -> None:
    first = box.start(box.spec(_ECHO))
    first.channel.sendall(b"a")
    assert first.channel.recv(100) == b"1 2 a"
    first.close()
    box.agent.close()
    box.connect()
    box.say({"t": "list"})
    (listed,) = box.hear("containers").message["containers"]
    assert (listed["container"], listed["phase"]) == (first.spec.id, "running")
    second = box.attach(first.spec)
    assert second.message["pid"] == first.message["pid"]
    second.channel.sendall(b"b")
    assert second.channel.recv(100) == b"2 2 b"
    box.say({"t": "kill", "container": first.spec.id})
    box.finish(second)


def test_the_runner_sees_the_end_of_its_channel_when_the_agent_is_gone(box: Box) -> None:
    code = """
import array, socket
line = socket.socket(fileno=control)
data, ancillary, *_ = line.recvmsg(1000, 100)
channel = socket.socket(fileno=array.array("i", ancillary[0][2])[0])
print("up", flush=True)
print(channel.recv(100), flush=True)
"""
    running = box.start(box.spec(code))
    assert running.read_line() == "up"
    running.channel.close()
    assert running.read_line() == "b''"
    box.finish(running)


def test_what_was_printed_before_the_agent_came_back_is_not_lost(box: Box) -> None:
    running = box.start(
        box.spec("import os; os.write(log, b'oone'); os.write(1, b'raw'); os.write(log, b'etwo')")
    )
    running.close()
    box.agent.close()
    box.connect()
    assert box.hear("exited").message["container"] == running.spec.id
    again = box.attach(running.spec)
    assert [again.log.recv(100), again.log.recv(100), again.log.recv(100)] == [b"oone", b"etwo", b""]
    assert again.read_out() == "raw"
    assert again.channel.recv(1) == b""
    again.close()
    box.say({"t": "forget", "container": running.spec.id})


def test_an_end_is_told_again_until_it_is_forgotten(own_box: Box) -> None:
    running = own_box.start(own_box.spec("raise SystemExit(5)"))
    for _ in range(2):
        assert own_box.hear("exited").message["code"] == 5
        own_box.agent.close()
        own_box.connect()
    assert own_box.hear("exited").message["code"] == 5
    own_box.say({"t": "forget", "container": running.spec.id})
    own_box.agent.close()
    own_box.connect()
    own_box.say({"t": "list"})
    assert own_box.hear("exited", "containers").message["t"] == "containers"
    running.close()


def test_a_newer_agent_replaces_the_older_one(own_box: Box) -> None:
    older = own_box.agent
    own_box.connect()
    assert older.recv(10) == b""
    own_box.run()
    older.close()


def test_a_command_runs_beside_the_runner_in_the_same_sandbox(box: Box) -> None:
    running = box.start(box.spec(_WAIT))
    assert running.read_line() == "up"
    script = "id -u; cat; grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; ls /proc/self/fd | wc -l; exit 3"
    stdin, stdout, _stderr = _execute(
        box, running.spec.id, ["/bin/sh", "-c", script], env={"PATH": "/usr/bin:/bin"}
    )
    os.write(stdin, b"typed\n")
    os.close(stdin)
    said = _read(stdout).split()
    assert said[:2] == ["0", "typed"]
    fields = dict(zip(said[2:-1:2], said[3:-1:2], strict=True))
    assert int(fields["CapEff:"], 16) == int(fields["CapBnd:"], 16) == 0
    assert (fields["NoNewPrivs:"], fields["Seccomp:"]) == ("1", "2")
    # Its three, and the one that lists them.
    assert said[-1] == "4"
    ended = box.hear("exec_exited").message
    assert (ended["exec"], ended["code"], ended["signal"]) == ("e1", 3, None)
    box.say({"t": "kill", "container": running.spec.id})
    box.finish(running)


def test_a_shell_has_a_terminal_of_its_own_that_cannot_be_typed_into(box: Box) -> None:
    running = box.start(box.spec(_WAIT))
    assert running.read_line() == "up"
    code = (
        "import fcntl, os, termios\n"
        "print(os.ttyname(0), os.get_terminal_size())\n"
        "try: fcntl.ioctl(0, termios.TIOCSTI, b'x'); print('typed')\n"
        "except OSError as e: print('refused', e.errno)\n"
    )
    (terminal,) = _execute(box, running.spec.id, [box.python, "-c", code], tty=True, rows=31, cols=99)
    said = _read(terminal)
    assert "/dev/pts/" in said
    assert "columns=99, lines=31" in said
    assert "refused 1" in said
    assert box.hear("exec_exited").message["code"] == 0
    box.say({"t": "kill", "container": running.spec.id})
    box.finish(running)


def test_a_terminal_is_resized_and_hung_up_with_its_agent(box: Box) -> None:
    running = box.start(box.spec(_WAIT))
    assert running.read_line() == "up"
    code = """
import os, signal
# Not print: the signal may come while it still holds its buffer.
signal.signal(signal.SIGWINCH, lambda *_: os.write(1, str(os.get_terminal_size()).encode()))
os.write(1, b"up")
while True:
    signal.pause()
"""
    execed = _execed(box, running.spec.id, [box.python, "-c", code], tty=True)
    (terminal,) = execed.fds
    assert b"up" in os.read(terminal, 100)
    box.say({"t": "resize", "exec": "e1", "rows": 40, "cols": 120})
    assert b"columns=120, lines=40" in os.read(terminal, 200)
    os.close(terminal)
    box.agent.close()
    box.connect()
    # Its end may come before the next agent does, and is of no use to that one.
    eventually(lambda: not os.path.exists(f"/proc/{execed.message['pid']}"))
    box.say({"t": "kill", "container": running.spec.id})
    again = box.attach(running.spec)
    box.finish(again)
    running.close()


def test_a_program_that_is_not_there_ends_with_127(box: Box) -> None:
    running = box.start(box.spec(_WAIT))
    assert running.read_line() == "up"
    _, _, stderr = _execute(box, running.spec.id, ["/no/such/program"])
    assert "No such file" in _read(stderr)
    assert box.hear("exec_exited").message["code"] == 127
    box.say({"t": "kill", "container": running.spec.id})
    box.finish(running)


def test_a_command_in_place_of_the_runner_has_pipes_and_an_exit_status(box: Box) -> None:
    argv = ("/bin/sh", "-c", "echo out; echo err >&2; ls /proc/self/fd | wc -l; exit 4")
    ended = box.run(argv=argv)
    assert ended.out == "out\n4\n"
    assert ended.err == "err\n"
    assert (ended.exited["code"], ended.exited["cause"]) == (4, "exit")


def test_a_sandbox_that_cannot_be_made_is_refused_and_leaves_nothing(box: Box) -> None:
    for changed, word in (
        ({"lowers": ("/no/such/directory",)}, "MountRoot"),
        ({"workdir": "/no/such/directory"}, "starting the runner"),
    ):
        spec = box.spec(**changed)
        box.say({"t": "start", "container": spec.id, "spec": spec.to_json()})
        refused = box.hear("refused").message
        assert word in refused["message"]
        assert refused["code"].startswith("SQ-")
        assert refused["remedy"]


def test_malformed_words_are_refused_and_the_launcher_goes_on(own_box: Box) -> None:
    for message in (
        {"t": "start", "container": "x", "spec": {"id": "../x"}},
        {"t": "start", "container": "x", "spec": None},
        {"t": "start", "container": "x", "spec": {"no": "such"}},
        {"t": "attach", "container": "nobody"},
        {"t": "exec", "container": "nobody", "exec": "e", "argv": []},
        {"t": "dance"},
        {"t": "exec", "container": "nobody"},
        {},
    ):
        own_box.say(message)
        assert own_box.hear("refused").message["remedy"]
    running = own_box.start(own_box.spec(_WAIT))
    own_box.say({"t": "stop", "container": running.spec.id, "grace_s": "long"})
    assert own_box.hear("refused").message["code"] == "SQ-1010"
    own_box.say({"t": "kill", "container": running.spec.id})
    own_box.finish(running)
    own_box.agent.send(b"no json")
    assert own_box.agent.recv(10) == b""
    own_box.agent.close()
    own_box.connect()
    own_box.run()


def test_its_socket_is_for_its_user_alone(own_box: Box) -> None:
    found = os.stat(own_box.top / "l.sock")
    assert stat.S_IMODE(found.st_mode) == 0o700


def test_a_path_too_long_for_a_socket_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    listener = listen(str(deep / "l.sock"))
    assert (deep / "l.sock").is_socket()
    listener.close()


def _execute(box: Box, container: str, argv: list[str], **how: object) -> tuple[int, ...]:
    return _execed(box, container, argv, **how).fds


def _execed(box: Box, container: str, argv: list[str], **how: object) -> packet.Packet:
    box.say({"t": "exec", "container": container, "exec": "e1", "argv": argv, **how})
    got = box.hear("execed", "refused", of=container)
    assert got.message["t"] == "execed", got.message
    assert got.message["pid"] > 0
    return got


def _read(fd: int) -> str:
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
