"""Containers that are forked from a template: the same sandbox as any other, and what becomes of them without it."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from squall.runtime.spec import Mount, SandboxSpec
from squall.runtime.template.keeper import REAP_PATIENCE_S
from squall.runtime.template.pool_plan import THICK, WINDOW_S
from tests.linux.runtime.box import Box, eventually, limits

_STATUS = """
import json, os
fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
inside = {name: fields[name].split() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")}
inside["ns"] = {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}
inside["fds"] = sorted(map(int, os.listdir("/proc/self/fd")))
inside["pids"] = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
inside["host"], inside["cwd"], inside["uid"] = os.uname().nodename, os.getcwd(), os.getuid()
print(json.dumps(inside))
"""


def test_a_fork_of_a_template_has_what_the_template_loaded(box: Box) -> None:
    told = box.template("import decimal; answer = 42")
    assert told["state"] == "ready", told
    started = box.start(box.spec('import sys; print(loaded["answer"], "decimal" in sys.modules)'))
    assert started.message["rung"] in {"spare", "pooled", "on_demand"}
    assert box.finish(started).out == "42 True\n"


@pytest.mark.parametrize("rung", ["spare", "pooled", "on_demand", "parked"])
def test_every_rung_gives_the_same_sandbox(box: Box, rung: str) -> None:
    if rung != "parked":
        assert box.template()["state"] == "ready"
    if rung == "spare":
        box.await_spare()
    started = box.start(box.spec(_STATUS), path=rung)
    assert started.message["rung"] == rung
    inside = box.finish(started).json()
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(inside[name][0], 16) == 0, name
    assert (inside["NoNewPrivs"], inside["Seccomp"]) == (["1"], ["2"])
    for name in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
        assert inside["ns"][name] != os.readlink(f"/proc/self/ns/{name}"), name
    assert inside["fds"] == [0, 1, 2, 3, 4, 5]  # the last one is the listing's own
    assert inside["pids"] == [1, 2]
    assert (inside["host"], inside["cwd"], inside["uid"]) == ("box", "/app", 0)


def test_two_forks_share_no_namespace_and_see_none_of_the_other(box: Box) -> None:
    box.template()
    code = (
        _STATUS
        + "import sys; sys.stdout.flush(); open('/tmp/mine', 'w').close(); import time; time.sleep(60)"
    )
    one, other = box.start(box.spec(code)), box.start(box.spec(code))
    first, second = json.loads(one.read_line()), json.loads(other.read_line())
    assert not set(first["ns"].values()) & set(second["ns"].values()) - {
        first["ns"].get("time"),
        first["ns"].get("time_for_children"),
    }
    assert first["pids"] == second["pids"] == [1, 2]
    for running in (one, other):
        box.say({"t": "kill", "container": running.spec.id})
        assert box.finish(running).exited["cause"] == "killed"


def test_what_a_fork_returns_or_dies_of_is_told(box: Box) -> None:
    box.template()
    assert box.run("import sys; sys.exit(7)").exited["code"] == 7
    ended = box.run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)").exited
    assert (ended["cause"], ended["signal"]) == ("signal", signal.SIGSEGV)
    assert box.run("import time; time.process_time(); sum(range(3_000_000))").exited["cpu_s"] > 0.01


def test_a_strict_template_has_no_capability_and_its_forks_are_like_any_other(box: Box) -> None:
    code = "powers = [line for line in open('/proc/self/status') if line.startswith('Cap')]"
    assert box.template(code, level="sandbox-strict")["state"] == "ready"
    started = box.start(box.spec("print(loaded['powers'])", level="sandbox-strict"), path="pooled")
    assert set(eval(box.finish(started).out)) == {
        f"Cap{name}:\t{0:016x}\n" for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")
    }
    for rung in ("on_demand", "spare"):
        inside = box.finish(box.start(box.spec(_STATUS, level="sandbox-strict"), path=rung)).json()
        assert (inside["pids"], inside["CapEff"], inside["Seccomp"]) == ([1, 2], ["0000000000000000"], ["2"])
    assert box.run("import sys; sys.exit(7)", level="sandbox-strict").exited["code"] == 7
    ended = box.run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", level="sandbox-strict").exited
    assert (ended["cause"], ended["signal"]) == ("signal", signal.SIGSEGV)
    assert box.run("sum(range(3_000_000))", level="sandbox-strict").exited["cpu_s"] > 0.01


@pytest.mark.parametrize("level", ["sandbox", "sandbox-strict"])
def test_how_a_fork_ended_is_told_however_soon_that_was(box: Box, level: str) -> None:
    box.template(level=level)
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    ended = [box.run(code, level=level).exited for _ in range(15)]
    assert {(one["cause"], one["signal"]) for one in ended} == {("signal", signal.SIGSEGV)}


def test_a_fork_hears_that_it_shall_stop(box: Box) -> None:
    box.template()
    code = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); print('up', flush=True); time.sleep(60)"
    running = box.start(box.spec(code))
    assert running.read_line() == "up"
    box.say({"t": "stop", "container": running.spec.id, "grace_s": 20})
    ended = box.finish(running).exited
    assert (ended["cause"], ended["code"]) == ("killed", 5)


def test_a_memory_limit_holds_for_a_fork(box: Box) -> None:
    bound = limits(memory_bytes=64 << 20)
    assert box.template(limits=bound)["state"] == "ready"
    # The group is the fork's own a moment after it has started.
    ended = box.run(
        "import time; time.sleep(0.3); kept = [bytearray(1 << 20) for _ in range(300)]", limits=bound
    )
    assert ended.exited["cause"] == "oom", ended


def test_a_container_of_another_kind_starts_without_the_template(box: Box) -> None:
    box.template()
    started = box.start(box.spec("print('up')", hostname="other"))
    assert started.message["rung"] == "parked"
    assert box.finish(started).out == "up\n"


def test_killing_a_template_leaves_its_containers_running(box: Box) -> None:
    told = box.template()
    running = box.start(
        box.spec(
            "print('up', flush=True); print(input_line := open(0).read(), end=''); import time; time.sleep(0.5)"
        )
    )
    assert running.read_line() == "up"
    os.kill(told["pid"], signal.SIGKILL)
    assert box.hear("template").message["state"] == "gone"
    after = box.start(box.spec("print('up')"))
    assert after.message["rung"] == "parked"
    box.finish(after)
    assert box.finish(running).exited["code"] == 0


def _asked_for(box: Box) -> tuple[SandboxSpec, dict[str, Any]]:
    """A container that was asked for, and what the launcher has of it."""
    spec = box.spec("print('up')")
    box.ask(spec)
    box.say({"t": "list"})
    listed = {one["container"]: one for one in box.hear("containers").message["containers"]}
    return spec, listed[spec.id]


@pytest.mark.parametrize("killed", [False, True])
def test_a_sandbox_that_ends_just_before_the_fork_into_it_takes_nothing_with_it(
    box: Box, killed: bool
) -> None:
    told = box.template()
    os.kill(told["pid"], signal.SIGSTOP)
    spec, listed = _asked_for(box)
    before = []
    if listed["phase"] == "running":
        # A spare, of which there was one at most. Its end is heard of once the template goes on.
        before = [box.started(spec)]
        spec, listed = _asked_for(box)
    first = listed["init_pid"]
    assert listed["phase"] == "building"
    # The launcher hears of all of it at once: of the kill, of the sandbox's end, and that the template could not fork.
    os.kill(box.launcher.pid, signal.SIGSTOP)
    if killed:
        box.say({"t": "kill", "container": spec.id})
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{first}").exists())
    os.kill(told["pid"], signal.SIGCONT)
    eventually(lambda: _waits(told["pid"]))
    os.kill(box.launcher.pid, signal.SIGCONT)
    for spare in before:
        assert box.finish(spare).out == "up\n"
    if killed:
        assert "let go" in box.hear("refused", of=spec.id).message["message"]
    else:
        started = box.started(spec)
        assert started.message["rung"] == "parked"
        assert box.finish(started).out == "up\n"
    for rung in ("pooled", "on_demand"):
        after = box.start(box.spec("print('up')"), path=rung)
        assert after.message["rung"] == rung
        assert box.finish(after).out == "up\n"


def test_killing_the_init_of_a_template_ends_its_containers_and_nothing_else(box: Box) -> None:
    box.template()
    parked = box.start(box.spec("print('up', flush=True); import time; time.sleep(1.5)"), path="parked")
    running = box.start(box.spec("print('up', flush=True); import time; time.sleep(60)"))
    assert (parked.read_line(), running.read_line()) == ("up", "up")
    os.kill(_named("squall-template-init"[:15], box.launcher.pid), signal.SIGKILL)
    ended = box.finish(running).exited
    assert (ended["cause"], ended["signal"]) == ("signal", signal.SIGKILL)
    assert box.finish(parked).exited["code"] == 0


def test_code_that_cannot_be_loaded_gets_no_template_and_starts_all_the_same(box: Box) -> None:
    told = box.template("import no_such_module")
    assert (told["state"], told["reason"]) == ("refused", "import")
    started = box.start(box.spec("print('up')"))
    assert started.message["rung"] == "parked"
    assert box.finish(started).out == "up\n"


def test_code_that_starts_a_thread_while_it_is_loaded_is_refused_with_a_hint(box: Box) -> None:
    told = box.template(
        "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    )
    assert told["state"] == "refused"
    assert "thread" in told["reason"]
    assert "function" in told["hint"]


def test_a_template_that_ends_while_it_loads_is_refused_with_its_end(box: Box) -> None:
    told = box.template("import os; os._exit(3)")
    assert (told["state"], told["why"]) == ("refused", "it exited with code 3")


def test_a_rung_that_is_demanded_and_not_to_be_had_is_refused_in_words(box: Box) -> None:
    spec = box.spec("print('up')")
    box.ask(spec, path="pooled")
    refused = box.hear("refused", of=spec.id).message
    assert "needs a template" in refused["message"]


def test_what_is_printed_while_code_is_loaded_is_passed_on(box: Box) -> None:
    box.say({"t": "list"})
    box.template("print('loading')")
    assert box.hear("printed").message["text"] == "loading\n"


def test_a_template_writes_nowhere_but_in_its_own_root(box: Box) -> None:
    told = box.template("open('/app/written', 'w').close(); import os; seen = sorted(os.listdir('/'))")
    assert told["state"] == "ready", told
    ended = box.run(
        "import os; print(os.path.exists('/app/written'), 'check' if 0 else loaded['seen'] == sorted(os.listdir('/')))"
    )
    assert ended.out == "False True\n"


@pytest.mark.parametrize("packages", ["", "import os; first = os.open('/etc/names', os.O_RDONLY)"])
def test_files_that_were_opened_while_code_was_loaded_are_the_containers_own(box: Box, packages: str) -> None:
    names = box.top / "lower" / "etc" / "names"
    names.parent.mkdir(exist_ok=True)
    names.parent.chmod(0o755)
    names.write_text("one two\n")
    names.chmod(0o644)
    told = box.template(
        "import os; files = [os.open('/etc/names', os.O_RDONLY) for _ in range(12)]; os.read(files[3], 4)",
        packages=packages,
        source=str(box.top / "lower") if packages else None,
    )
    assert told["state"] == "ready", told
    # None of them is where a runner has its own descriptors: else it would read from its line to the launcher.
    code = "import os; print([os.read(fd, 9).decode() for fd in loaded['files']], flush=True)"
    for _ in range(2):
        assert (
            box.run(code).out
            == f"{['one two' + chr(10)] * 3 + ['two' + chr(10)] + ['one two' + chr(10)] * 8}\n"
        )


def test_mounts_find_their_place_in_folders_of_the_image_that_nobody_inside_may_write_to(box: Box) -> None:
    folder = box.top / "lower" / "squall" / "layers"
    folder.mkdir(parents=True)
    for name in ("layer", "layer/data"):
        (box.top / name).mkdir()
        (box.top / name).chmod(0o755)
        box.give(box.top / name)
    for path in (folder.parent, folder):
        path.chmod(0o755)
        box.give(path)
    (box.top / "file").write_text("shown")
    mounts = (
        *box.mounts(),
        Mount(source=str(box.top / "layer"), target="/squall/layers/abc"),
        Mount(source=str(box.top / "file"), target="/deep/down/file"),
    )
    told = box.template("import os; seen = os.listdir('/squall/layers/abc')", mounts=mounts)
    assert told["state"] == "ready", told
    code = (
        "import os; print(loaded['seen'], os.listdir('/squall/layers/abc'), open('/deep/down/file').read())"
    )
    ended = box.finish(box.start(box.spec(code, mounts=mounts), path="pooled"))
    assert ended.out == "['data'] ['data'] shown\n"


def test_a_rung_on_demand_is_served_however_many_sandboxes_are_ready(box: Box) -> None:
    box.template()
    specs = [box.spec("import time; time.sleep(0.2)") for _ in range(15)]
    for spec in specs:
        box.ask(spec)
    for spec in specs:
        for fd in box.hear("started", of=spec.id).fds:
            os.close(fd)
        box.hear("exited", of=spec.id)
        box.say({"t": "forget", "container": spec.id})
    for _ in range(3):
        started = box.start(box.spec("print('up')"), path="on_demand")
        assert started.message["rung"] == "on_demand"
        assert box.finish(started).out == "up\n"


def test_the_second_spare_goes_when_starts_are_rare_again_and_its_template_stays(box: Box) -> None:
    told = box.template()

    def spares() -> int:
        box.say({"t": "list"})
        return int(box.hear("containers").message["spares"])

    for _ in range(THICK):
        box.run()
    eventually(lambda: spares() == 2)
    eventually(lambda: spares() == 1, within_s=6 * WINDOW_S)
    # So long a killed container may take to end, before its template is taken for what holds it up.
    time.sleep(REAP_PATIENCE_S + 0.5)
    assert Path(f"/proc/{told['pid']}").exists()
    assert box.finish(box.start(box.spec("print('up')"), path="pooled")).out == "up\n"


def test_a_burst_beyond_the_pool_is_served(box: Box) -> None:
    box.template()
    specs = [box.spec("print('up')") for _ in range(20)]
    for spec in specs:
        box.ask(spec)
    ended = []
    for spec in specs:
        got = box.hear("started", "refused", of=spec.id)
        assert got.message["t"] == "started", got.message
        ended.append(got)
    rungs = {got.message["rung"] for got in ended}
    assert rungs <= {"spare", "pooled", "on_demand"}
    for got in ended:
        for fd in got.fds:
            os.close(fd)
    for spec in specs:
        assert box.hear("exited", of=spec.id).message["code"] == 0
        box.say({"t": "forget", "container": spec.id})


def _named(name: str, parent: int) -> int:
    def found() -> list[int]:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == name]

    eventually(lambda: bool(found()))
    return found()[0]


def _waits(pid: int) -> bool:
    """Whether a process has nothing to do."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
