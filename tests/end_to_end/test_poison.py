"""One input that always ends its container, among many that do not; and inputs that must not begin twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import squall
from squall.model.errors import ContainerExited, InputLost, InputNotRunAgain, OutOfMemory
from tests.end_to_end.conftest import eventually

pytestmark = pytest.mark.needs("linux", "namespaces")
POISON = 617

app = squall.App("poison")


@app.function(serialized=True, max_containers=2)
def bitten(number: int, how: str) -> int:
    import os
    import signal

    if number == 617:
        print("POISONED", flush=True)
        if how == "exit":
            os._exit(139)
        if how == "memory":
            bytearray(400 << 20)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
    return number


@app.function(serialized=True, max_containers=2, memory=(64, 128))
def hungry(number: int, how: str) -> int:
    if number == 617:
        print("POISONED", flush=True)
        bytearray(400 << 20)
    return number


@app.function(serialized=True, max_containers=1, on_lost="fail")
def charge(path: str, seconds: float) -> int:
    import os
    import time

    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return os.getpid()


@pytest.fixture(scope="module")
def running(at_home: Any) -> Iterator[None]:
    with app.run():
        list(bitten.map(range(100), kwargs={"how": ""}))
        list(hungry.map(range(100), kwargs={"how": ""}))
        yield


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    ("how", "error", "most"),
    [("exit", ContainerExited, 3), ("segfault", ContainerExited, 3), ("kill", InputLost, 11)],
)
def test_one_poison_among_a_thousand_ends_by_name_and_costs_no_other(
    how: str, error: type[Exception], most: int, capfd: Any
) -> None:
    found = list(bitten.map(range(1000), kwargs={"how": how}, return_exceptions=True))
    assert isinstance(found[POISON], error), found[POISON]
    assert [value for index, value in enumerate(found) if index != POISON] == [
        number for number in range(1000) if number != POISON
    ]
    assert capfd.readouterr().out.count("POISONED") <= most, "its containers are lost again and again"


@pytest.mark.usefixtures("running")
def test_one_that_takes_too_much_memory_is_found_too(capfd: Any) -> None:
    found = list(hungry.map(range(1000), kwargs={"how": ""}, return_exceptions=True))
    assert isinstance(found.pop(POISON), OutOfMemory)
    assert found == [number for number in range(1000) if number != POISON]
    assert capfd.readouterr().out.count("POISONED") <= 3


@pytest.mark.usefixtures("running")
def test_the_same_in_a_spawned_map(capfd: Any) -> None:
    call = bitten.spawn_map(range(1000), kwargs={"how": "exit"})
    for index in range(1000):
        if index == POISON:
            with pytest.raises(ContainerExited, match="139"):
                call.get(index=index, timeout=60)
        else:
            assert call.get(index=index, timeout=60) == index
    assert capfd.readouterr().out.count("POISONED") <= 3


@pytest.mark.usefixtures("running")
@pytest.mark.needs(
    "root"
)  # its containers see a directory of the host's /tmp at level process only; pids are looked for
def test_an_input_that_must_not_begin_twice_ends_by_name_and_the_next_runs(tmp_path: Path) -> None:
    calls = [charge.spawn("/tmp/charged", 60.0), charge.spawn("/tmp/charged", 0.0)]
    pid = eventually(_sleeper)
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(InputNotRunAgain, match="may have begun"):
        calls[0].get(timeout=30)
    assert calls[1].get(timeout=30) > 0
    assert time.monotonic() - began < 20


def _sleeper() -> int | None:
    """The pid of the runner that has written its line, as the host sees it."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            root = f"/proc/{entry}/root/tmp/charged"
            if os.path.exists(root) and os.readlink(f"/proc/{entry}/root") != "":
                status = Path(f"/proc/{entry}/status").read_text()
                inside = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1]
                if inside in Path(root).read_text().split():
                    return int(entry)
        except OSError:
            continue
    return None
