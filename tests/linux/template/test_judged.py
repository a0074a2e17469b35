"""The gate refuses a real process that cannot be forked, and passes one that can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.linux.template.process import judged, run, words

pytestmark = pytest.mark.needs("linux")

# What a module may do at import, and the words for which it is refused.
REFUSED = {
    "a thread": ("threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", {"thread"}),
    "a timer": ("threading.Timer(60, print).start()", {"thread"}),
    "a thread that Python's threading does not know": (
        "import _thread; _thread.start_new_thread(time.sleep, (60,))",
        {"native_thread"},
    ),
    "an executor that has worked": (
        """
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)
        pool.submit(int).result()
        return pool
        """,
        {"executor", "thread"},
    ),
    "a pool of processes": (
        """
        from concurrent.futures import ProcessPoolExecutor
        return ProcessPoolExecutor(1)
        """,
        {"process_pool", "pipe", "shared_memory"},
    ),
    "an event loop": ("import asyncio; return asyncio.new_event_loop()", {"event_loop", "epoll", "socket"}),
    "a socket": ("import socket; return socket.socket()", {"socket"}),
    "a pipe": ("return os.pipe()", {"pipe"}),
    "a poll": ("import select; return select.epoll()", {"epoll"}),
    "an event descriptor": ("return os.eventfd(0)", {"eventfd"}),
    "a handle of a process": ("return os.pidfd_open(os.getpid())", {"pidfd"}),
    "a memory file": ("return os.memfd_create('x')", {"memfd"}),
    "a directory": ("return os.open('/', os.O_RDONLY)", {"directory"}),
    "a file that is written": ("import tempfile; return tempfile.TemporaryFile()", {"file_writable"}),
    "a terminal": ("return os.openpty()", {"device"}),
    "memory that is shared": ("import mmap; return mmap.mmap(-1, 4096)", {"shared_memory"}),
    "a lock between processes": ("import multiprocessing; return multiprocessing.Lock()", {"shared_memory"}),
    "memory that a fork does not copy": (
        "import mmap; area = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE); area.madvise(mmap.MADV_DONTFORK); return area",
        {"withheld_memory"},
    ),
    "a process": (
        "from subprocess import DEVNULL, PIPE, Popen; return Popen(['cat'], stdin=PIPE, stdout=DEVNULL)",
        {"child_process"},
    ),
    "a process that has ended": ("import subprocess; return subprocess.Popen(['true'])", {"child_process"}),
    "a channel of grpc": (
        """
        import types
        sys.modules["grpc._channel"] = types.ModuleType("grpc._channel")
        sys.modules["grpc._channel"].Channel = type("Channel", (), {})
        return sys.modules["grpc._channel"].Channel()
        """,
        {"channel"},
    ),
    "a GPU that torch has used": (
        """
        import types
        sys.modules["torch.cuda"] = types.ModuleType("torch.cuda")
        sys.modules["torch.cuda"].is_initialized = lambda: True
        """,
        {"device_context"},
    ),
    "a connection to a database": ("import sqlite3; return sqlite3.connect(':memory:')", {"connection"}),
}
PASSED = {
    "nothing": "pass",
    "modules of the standard library": "import asyncio, concurrent.futures, multiprocessing, sqlite3, ssl, uuid",
    "a thread that has ended": "one = threading.Thread(target=int); one.start(); one.join()",
    "an event loop that has ended": "import asyncio; asyncio.run(asyncio.sleep(0))",
    "a pool that has ended": """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(abs, range(100)))
        return pool
        """,
    "a closed file": "import tempfile; tempfile.TemporaryFile().close()",
    "a process that was waited for": "import subprocess; subprocess.run(['true'], check=True)",
    "a connection that only waits to be collected": """
        import sqlite3, types
        knot = types.SimpleNamespace(base=sqlite3.connect(":memory:"))
        knot.itself = knot
        """,
    "a thread that is just ending": "import _thread; _thread.start_new_thread(time.sleep, (0.03,))",
    "a lock": "return threading.Lock()",
    "numpy": "import numpy",
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_template_that_holds_this_is_refused(what: str) -> None:
    imports, expected = REFUSED[what]
    verdict = judged(imports)
    assert expected <= words(verdict), verdict


@pytest.mark.parametrize("what", PASSED)
def test_a_template_that_holds_this_is_safe(what: str) -> None:
    verdict = judged(PASSED[what], OPENBLAS_NUM_THREADS="1")
    assert verdict["safe"], verdict
    assert not verdict["warnings"]


def test_native_threads_that_an_import_starts_are_seen() -> None:
    verdict = judged(
        "import numpy; numpy.ones((600, 600)) @ numpy.ones((600, 600))", OPENBLAS_NUM_THREADS="2"
    )
    (reason,) = verdict["reasons"]
    assert reason[:2] == ["native_thread", "numpy"]
    assert "1 without a name (numpy)" in reason[2]


def test_a_reason_names_the_variable_that_holds_what_was_found() -> None:
    verdict = judged("import json, socket; json.client = socket.socket(); json.source = open(os.devnull)")
    assert [(word, holder) for word, holder, _ in verdict["reasons"]] == [("socket", "json.client")]
    assert "@squall.after_fork" in verdict["reasons"][0][2]


def test_a_reason_names_the_module_of_a_thread() -> None:
    verdict = judged(
        "from concurrent.futures import thread; threading.Thread(target=thread._worker).start"
        "\nimport queue; threading.Thread(target=queue.Queue().get, daemon=True).start()"
    )
    assert [(word, module) for word, module, _ in verdict["reasons"]] == [("thread", "queue")]


def test_what_is_read_or_holds_nothing_is_kept_and_told() -> None:
    verdict = judged("return open('/etc/hostname'), os.open('/dev/urandom', os.O_RDONLY)")
    assert verdict["safe"]
    assert [word for word, _, _ in verdict["warnings"]] == ["file"]
    assert len(verdict["keep"]) == 2


def test_generators_idle_executors_handlers_and_alarms_of_the_owners_code_are_told(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        """
import concurrent.futures, random, signal
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 60)
drawn, anew = random.Random(1), random.SystemRandom()
pool = concurrent.futures.ThreadPoolExecutor(1)
"""
    )
    verdict = judged(
        f"""
        sys.path.insert(0, {str(tmp_path)!r})
        import json, mine, random
        json.drawn = random.Random(2)  # of a library's: not told
        """
    )
    assert verdict["safe"]
    assert [(word, holder) for word, holder, _ in verdict["warnings"]] == [
        ("alarm", ""),
        ("generator", "mine.drawn"),
        ("handler", ""),
        ("idle_executor", "mine.pool"),
    ]


def test_a_thread_that_comes_up_later_is_seen_before_the_next_fork() -> None:
    assert run(
        """
        alone = observe.is_single()
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        say([alone, observe.is_single()])
        os._exit(0)
        """
    ) == [True, False]


@pytest.mark.needs("namespaces")
def test_a_process_that_cannot_look_at_itself_is_refused() -> None:
    verdict: Any = run(
        """
        from squall.runtime import syscalls
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
        syscalls.mount("none", "/proc", "tmpfs", 0)
        before = observe.look()
        held = open("/etc/hostname"), __import__("socket").socket()
        verdict = gate.judge(before, observe.look())
        say([verdict.safe, sorted(one.word for one in verdict.reasons), observe.is_single()])
        """
    )
    # What is open is found without /proc; whether it is written is not, and so in doubt it is.
    assert verdict == [False, ["file_writable", "socket", "unseen", "unseen", "unseen"], False]
