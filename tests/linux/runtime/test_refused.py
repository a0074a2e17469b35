"""A machine that refuses namespaces: what is refused there, by name, and what still works."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from squall.runtime.spec import Limits
from tests.linux.runtime.box import Box, a_box

# As in many containers: no further user namespaces, and not the power to make the others.
_WITHOUT_NAMESPACES = (
    *("unshare", "-Ur", "sh", "-c"),
    'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set -sys_admin "$@"',
    "sh",
)


@pytest.fixture
def refused() -> Iterator[Box]:
    with a_box("user", wrapper=_WITHOUT_NAMESPACES) as box:
        yield box


pytestmark = pytest.mark.needs("namespaces")


def test_a_sandbox_is_refused_by_name_with_what_to_do(refused: Box) -> None:
    spec = refused.spec()
    refused.say({"t": "start", "container": spec.id, "spec": spec.to_json()})
    message = refused.hear("refused").message
    assert message["code"] == "SQ-1701"
    assert "namespaces" in message["message"]
    assert "squall doctor" in message["remedy"]


def test_what_needs_mounts_is_refused_by_name(refused: Box) -> None:
    given = {**refused.process_spec().to_json(), "lowers": ["/usr"]}
    refused.say({"t": "start", "container": given["id"], "spec": given})
    assert "lowers" in refused.hear("refused").message["message"]


def test_the_level_process_runs_keeps_its_end_and_leaves_nothing(refused: Box) -> None:
    code = """
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.pause()
    os._exit(0)
print(os.getcwd(), os.environ["MINE"])
sys.exit(9)
"""
    ended = refused.run_process(code, env={"MINE": "yes"})
    assert ended.out == "/ yes\n"
    assert (ended.exited["code"], ended.exited["cause"]) == (9, "exit")


def test_the_level_process_is_stopped_and_killed_with_all_that_descends_from_it(refused: Box) -> None:
    code = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    print("up", flush=True)
while True:
    signal.pause()
"""
    running = refused.start(refused.process_spec(code))
    assert running.read_line() == "up"
    refused.say({"t": "stop", "container": running.spec.id, "grace_s": 0.1})
    exited = refused.finish(running).exited
    assert (exited["signal"], exited["cause"]) == (signal.SIGKILL, "killed")


def test_memory_is_watched_at_the_level_process_too(refused: Box) -> None:
    code = "x = []\nwhile True: x.append(bytearray(1 << 20))"
    exited = refused.run_process(code, limits=Limits(memory_bytes=64 << 20)).exited
    assert exited["cause"] == "oom"
    assert exited["memory_peak_bytes"] >= 60 << 20
