"""One fork shows whether the children of a template live: what it says, and that nothing is left of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.linux.template.process import run

pytestmark = pytest.mark.needs("linux")

_TRY = """
{before}
descriptors = len(os.listdir("/proc/self/fd"))
started = time.monotonic()
found = canary.try_fork(renew, limit_s={limit_s})
took_s = time.monotonic() - started
try:
    os.waitpid(-1, os.WNOHANG)
    left = "a child"
except ChildProcessError:
    left = ""
left += "" if len(os.listdir("/proc/self/fd")) == descriptors else "a descriptor"
say([found.health, found.why, found.lives, took_s, left])
os._exit(0)
"""


def tried(before: str, *, limit_s: float = 20.0, **environ: str) -> Any:
    health, why, lives, took_s, left = run(_TRY.format(before=before, limit_s=limit_s), **environ)
    assert not left
    assert lives == (health == "healthy")
    return health, why, took_s


def test_a_healthy_template_lives() -> None:
    assert tried("renew = lambda: fresh.renew(TEMPLATE)")[0] == "healthy"


def test_one_with_numpy_lives_and_computes() -> None:
    before = "import numpy\nrenew = lambda: None"
    assert tried(before, OPENBLAS_NUM_THREADS="1")[0] == "healthy"


def test_one_whose_lock_was_held_by_a_thread_hangs_is_killed_and_says_where() -> None:
    health, why, took_s = tried(
        """
lock = threading.Lock()
def hold():
    lock.acquire()
    time.sleep(60)
threading.Thread(target=hold, daemon=True).start()
while not lock.locked():
    time.sleep(0.001)
def renew():
    with lock: pass
""",
        limit_s=1.0,
    )
    assert health == "hung"
    assert "within 1 s" in why
    assert "in renew" in why
    assert took_s < 10.0


def test_one_that_is_killed_by_a_signal_crashes() -> None:
    health, why, _ = tried("renew = lambda: os.kill(os.getpid(), signal.SIGSEGV)")
    assert health == "crashed"
    assert "SIGSEGV" in why


def test_one_that_raises_fails_with_its_traceback() -> None:
    health, why, _ = tried("def renew(): raise ValueError('not like this')")
    assert health == "failed"
    assert "ValueError: not like this" in why


@pytest.mark.parametrize("code", [0, 3])
def test_one_that_ends_by_itself_is_not_taken_for_healthy(code: int) -> None:
    health, _, _ = tried(f"renew = lambda: os._exit({code})")
    assert health == "failed"


def test_one_whose_own_child_holds_everything_open_is_not_waited_for() -> None:
    health, _, took_s = tried("def renew():\n    if os.fork() == 0: time.sleep(8); os._exit(0)")
    assert health == "healthy"
    assert took_s < 7.0
