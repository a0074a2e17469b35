"""What ordinary programs do works inside: the filter and the mounts are in nobody's way."""

from __future__ import annotations

import sys

import pytest

from squall.runtime.spec import Limits
from tests.linux.runtime.box import Box

_PROGRAMS = {
    "asyncio": """
import asyncio
async def main():
    server = await asyncio.start_server(lambda r, w: (w.write(b"hi"), w.close()), "127.0.0.1", 8080)
    reader, writer = await asyncio.open_connection("127.0.0.1", 8080)
    assert await reader.read() == b"hi"
    process = await asyncio.create_subprocess_exec("/bin/echo", "out", stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0] == b"out\\n"
    assert await asyncio.to_thread(lambda: 3) == 3
    server.close()
asyncio.run(main())
""",
    "subprocess": """
import subprocess
assert subprocess.run(["sh", "-c", "echo $0 | tr a-z A-Z"], capture_output=True, text=True).stdout == "SH\\n"
assert subprocess.run(["false"]).returncode == 1
""",
    "multiprocessing": """
import multiprocessing, multiprocessing.shared_memory as shared
context = multiprocessing.get_context("fork")
with context.Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
queue, lock = context.Queue(), context.Lock()
child = context.Process(target=queue.put, args=("x",))
child.start()
assert queue.get() == "x"
child.join()
block = shared.SharedMemory(create=True, size=1 << 20)
block.buf[:3] = b"abc"
other = shared.SharedMemory(block.name)
assert bytes(other.buf[:3]) == b"abc"
other.close()
block.close()
block.unlink()
""",
    "threads": """
import concurrent.futures, threading, queue
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert sum(pool.map(lambda n: n, range(100))) == 4950
""",
    "files": """
import fcntl, mmap, os, sqlite3, tempfile
with tempfile.TemporaryDirectory() as top:
    base = sqlite3.connect(top + "/x.db")
    base.execute("pragma journal_mode=wal")
    base.execute("create table t (a)")
    base.commit()
    base.close()
    with open(top + "/f", "w+b") as file:
        file.write(bytes(4096))
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        mmap.mmap(file.fileno(), 0)[:2] = b"ab"
    os.rename(top + "/f", top + "/g")
    os.link(top + "/g", top + "/h")
    os.symlink("g", top + "/i")
    os.mkfifo(top + "/p")
    os.chmod(top + "/g", 0o400)
with open("/app/made", "w") as file:
    file.write("x")
with open(os.path.expanduser("~/made"), "w") as file:
    file.write("x")
""",
    "what a program asks about its machine": """
import os, platform, resource, socket, time
assert os.cpu_count() >= 1 and len(os.sched_getaffinity(0)) >= 1
assert "MemTotal" in open("/proc/meminfo").read() and open("/proc/cpuinfo").read()
assert os.getloadavg() and time.get_clock_info("monotonic") and platform.platform()
os.sched_setaffinity(0, os.sched_getaffinity(0))
assert socket.getaddrinfo("127.0.0.1", 80)
assert os.getrandom(4) and os.urandom(4)
assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 1024
os.nice(1)
""",
    "memory": """
import ctypes, mmap, os
fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
os.truncate(fd, 1 << 20)
room = mmap.mmap(fd, 1 << 20)
room.madvise(mmap.MADV_HUGEPAGE) if hasattr(mmap, "MADV_HUGEPAGE") else None
code = mmap.mmap(-1, 4096, prot=7)
""",
    "a debugger": """
import faulthandler, signal, os
child = os.fork()
if child == 0:
    signal.pause()
assert os.readlink(f"/proc/{child}/exe")
open(f"/proc/{child}/mem", "rb").close()
os.kill(child, 9)
os.waitpid(child, 0)
""",
}


@pytest.mark.parametrize("name", _PROGRAMS)
def test_it_works(box: Box, name: str) -> None:
    ended = box.run(_PROGRAMS[name] + "\nprint('fine')", limits=Limits(memory_bytes=1 << 30, pids=200))
    assert ended.out.endswith("fine\n"), ended.err


def test_numpy_works(own_box: Box) -> None:
    pytest.importorskip("numpy", reason="needs network: numpy, from the package index")
    code = f"""
import sys
sys.path[:0] = {[path for path in sys.path if "site-packages" in path]!r}
import numpy
assert numpy.linalg.inv(numpy.eye(200) * 2)[0, 0] == 0.5
numpy.random.default_rng().normal(size=1000)
print("fine")
"""
    assert own_box.run(code).out == "fine\n"
