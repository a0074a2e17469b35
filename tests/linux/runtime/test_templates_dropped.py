"""Templates that are dropped or killed in the middle of something: the launcher goes on, and nothing of them is left."""

from __future__ import annotations

import os
import signal

import pytest

from squall.runtime.process_tree import parent_of
from tests.linux.runtime.box import Box

_WAIT = "import signal; print('up', flush=True); signal.pause()"


def test_templates_dropped_while_their_sandboxes_are_made_leave_nothing(box: Box) -> None:
    for count in range(4):
        assert box.template()["state"] == "ready"
        # So many at once that sandboxes are still being made when the template goes.
        running = [box.start(box.spec(_WAIT)) for _ in range(count)]
        for one in running:
            assert one.read_line() == "up"
            box.say({"t": "kill", "container": one.spec.id})
        box.say({"t": "drop_template"})
        for one in running:
            box.finish(one)
    assert box.run("print(1)").out == "1\n"


@pytest.mark.parametrize("which", ["the template", "its init"])
def test_templates_killed_while_their_sandboxes_are_made_leave_nothing(box: Box, which: str) -> None:
    for _ in range(2):
        pid = box.template()["pid"]
        if which == "its init":
            pid = parent_of(pid)
            assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while box.hear("template").message["state"] != "gone":
            pass
    assert box.run("print(1)").out == "1\n"


def test_an_init_that_ends_while_a_sandbox_is_asked_for_is_gone_and_not_refused(box: Box) -> None:
    init = parent_of(box.template()["pid"])
    assert init is not None
    # The launcher hears of the container first, and finds then that nobody is there to make its sandbox.
    box.launcher.send_signal(signal.SIGSTOP)
    spec = box.spec("print(1)")
    box.ask(spec, path="on_demand")
    os.kill(init, signal.SIGKILL)
    box.launcher.send_signal(signal.SIGCONT)
    assert box.hear("template").message["state"] == "gone"
    box.hear("refused", of=spec.id)
    assert box.run("print(1)").out == "1\n"


def test_a_launcher_that_was_told_to_quit_makes_no_template_any_more(box: Box) -> None:
    running = box.start(box.spec(_WAIT))
    assert running.read_line() == "up"
    spec = box.spec().to_json()
    # Its agent may not know yet, and asks right after.
    box.say({"t": "quit"})
    box.say({"t": "template", "spec": spec, "load": {"entry": "probe_runner:preload", "code": ""}})
    assert box.launcher.wait(20) == 0
    running.close()
    assert os.listdir(box.state / "scratch") == []
