"""What a launcher keeps for the agents that come and go: containers, channels, output, ends, commands."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from squall.runtime.agent_line import listen
from tests.linux.runtime.box import Box

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
