"""Commands beside a runner: started by the container's first process, or, where that rests, by a child of the launcher."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from squall.runtime import packet
from tests.linux.runtime.box import Box, Running, eventually, limits, read_to_end

_WAIT = "import signal; print('up', flush=True); signal.pause()"


@pytest.fixture(params=["parked", "pooled", "strict"])
def rung(request: pytest.FixtureRequest) -> str:
    """A runner of the first process's own, and forks of templates, with and without a capability."""
    return str(request.param)


def test_a_command_runs_beside_the_runner_in_the_same_sandbox(box: Box, rung: str) -> None:
    running = _waiting(box, rung)
    script = "id -u; cat; grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; ls /proc/self/fd | wc -l; exit 3"
    stdin, stdout, _stderr = _execute(
        box, running.spec.id, ["/bin/sh", "-c", script], env={"PATH": "/usr/bin:/bin"}
    )
    os.write(stdin, b"typed\n")
    os.close(stdin)
    said = read_to_end(stdout).split()
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


def test_a_shell_has_a_terminal_of_its_own_that_cannot_be_typed_into(box: Box, rung: str) -> None:
    running = _waiting(box, rung)
    code = (
        "import fcntl, os, termios\n"
        "print(os.ttyname(0), os.get_terminal_size())\n"
        "try: fcntl.ioctl(0, termios.TIOCSTI, b'x'); print('typed')\n"
        "except OSError as e: print('refused', e.errno)\n"
    )
    (terminal,) = _execute(box, running.spec.id, [box.python, "-c", code], tty=True, rows=31, cols=99)
    said = read_to_end(terminal)
    assert "/dev/pts/" in said
    assert "columns=99, lines=31" in said
    assert "refused 1" in said
    assert box.hear("exec_exited").message["code"] == 0
    box.say({"t": "kill", "container": running.spec.id})
    box.finish(running)


def test_a_terminal_is_resized_and_hung_up_with_its_agent(box: Box, rung: str) -> None:
    running = _waiting(box, rung)
    code = """
import os, signal
# Held back and waited for: one that came between a look and a pause would be slept over.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
os.write(1, b"up")
while signal.sigwait([signal.SIGWINCH]):
    os.write(1, str(os.get_terminal_size()).encode())
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


def test_a_program_that_is_not_there_ends_with_127(box: Box, rung: str) -> None:
    running = _waiting(box, rung)
    stdin, stdout, stderr = _execute(box, running.spec.id, ["/no/such/program"])
    assert "No such file" in read_to_end(stderr)
    _close(stdin, stdout)
    assert box.hear("exec_exited").message["code"] == 127
    box.say({"t": "kill", "container": running.spec.id})
    box.finish(running)


def test_the_end_of_a_command_is_told_as_it_was(box: Box, rung: str) -> None:
    running = _waiting(box, rung)
    _close(*_execute(box, running.spec.id, ["/bin/sh", "-c", "kill -TERM $$"]))
    ended = box.hear("exec_exited").message
    assert (ended["code"], ended["signal"]) == (None, signal.SIGTERM)
    _end(box, running)


def test_a_command_sees_what_its_container_sees_and_ends_with_it(box: Box, rung: str) -> None:
    running = _waiting(box, rung, "open('/tmp/mine', 'w').write('here'); " + _WAIT)
    script = "echo $(cat /tmp/mine) $(hostname) $(head -c 13 /proc/2/cmdline); exec sleep 60"
    execed = _execed(box, running.spec.id, ["/bin/sh", "-c", script], env={"PATH": "/usr/bin:/bin"})
    said = b""
    while not said.endswith(b"\n"):
        said += os.read(execed.fds[1], 4096)
    assert said == b"here box squall-runner\n"
    _end(box, running)
    eventually(lambda: not os.path.exists(f"/proc/{execed.message['pid']}"))
    _close(*execed.fds)


def test_two_commands_run_at_a_time(box: Box, rung: str) -> None:
    running = _waiting(box, rung)
    first = _execed(box, running.spec.id, ["cat"], name="e1")
    second = _execed(box, running.spec.id, ["cat"], name="e2")
    for place, got in enumerate((second, first)):
        os.write(got.fds[0], f"{place}".encode())
        os.close(got.fds[0])
        assert read_to_end(got.fds[1]) == f"{place}"
        os.close(got.fds[2])
        assert box.hear("exec_exited").message["exec"] == got.message["exec"]
    _end(box, running)


def test_what_a_command_takes_counts_for_its_container(box: Box, rung: str) -> None:
    bound = limits(memory_bytes=64 << 20)
    running = _waiting(box, rung, limits=bound)
    hog = "kept = []\nwhile True: kept.append(bytearray(1 << 20))"
    _close(*_execute(box, running.spec.id, [box.python, "-S", "-c", hog]))
    assert box.finish(running).exited["cause"] == "oom"


def test_seconds_of_a_command_count_for_its_container(box: Box, rung: str) -> None:
    running = _waiting(box, rung)
    busy = "import time\nwhile time.process_time() < 0.4: pass"
    _close(*_execute(box, running.spec.id, [box.python, "-S", "-c", busy]))
    assert box.hear("exec_exited").message["code"] == 0
    box.say({"t": "kill", "container": running.spec.id})
    assert box.finish(running).exited["cpu_s"] > 0.4


def _waiting(box: Box, rung: str, code: str = _WAIT, **changed: Any) -> Running:
    """A container that has started and waits."""
    if rung == "strict":
        changed["level"] = "sandbox-strict"
    if rung != "parked":
        assert box.template(**changed)["state"] == "ready"
    running = box.start(box.spec(code, **changed), path="parked" if rung == "parked" else "pooled")
    assert running.read_line() == "up"
    return running


def _end(box: Box, running: Running) -> None:
    box.say({"t": "kill", "container": running.spec.id})
    box.finish(running)


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _execute(box: Box, container: str, argv: list[str], **how: Any) -> tuple[int, ...]:
    return _execed(box, container, argv, **how).fds


def _execed(box: Box, container: str, argv: list[str], *, name: str = "e1", **how: Any) -> packet.Packet:
    box.say({"t": "exec", "container": container, "exec": name, "argv": argv, **how})
    got = box.hear("execed", "refused", of=container)
    assert got.message["t"] == "execed", got.message
    assert got.message["pid"] > 0
    return got
