"""What a fork copies, and what each measure does about it: every test has its trap sprung first."""

from __future__ import annotations

from typing import Any

import pytest

from tests.linux.template.process import run

pytestmark = pytest.mark.needs("linux")

# What two containers must not have in common, as an expression, and what the template has done with it before.
DRAWN = {
    "numpy's global generator": ("import numpy.random", "numpy.random.random()"),
    "numpy's global generator, of another kind": (
        "import numpy.random; numpy.random.set_bit_generator(numpy.random.PCG64(1))",
        "numpy.random.random()",
    ),
    "the node of uuid1": ("import uuid; uuid.uuid1()", "uuid.uuid1().node"),
    "the key of multiprocessing": (
        "import multiprocessing",
        "bytes(multiprocessing.current_process().authkey).hex()",
    ),
    "a generator of torch": (
        (
            "import types, random; torch = types.ModuleType('torch'); sys.modules['torch'] = torch\\n"
            "torch.default_generator = random.Random(1)"
        ),
        "torch.default_generator.random()",
    ),
}
# What Python and the kernel see to.
DRAWN_ANYWAY = {
    "random": ("import random; random.random()", "random.random()"),
    "secrets": ("import secrets", "secrets.token_hex()"),
    "uuid4": ("import uuid; uuid.uuid4()", "str(uuid.uuid4())"),
    "tempfile": ("import tempfile; tempfile.mktemp()", "tempfile.mktemp()"),
    "ssl": ("import ssl; ssl.RAND_bytes(1)", "ssl.RAND_bytes(16).hex()"),
}
_DRAW = """
exec(sys.argv[1].replace(chr(92) + "n", chr(10)))
def child():
    if sys.argv[3] == "renewed":
        fresh.renew(TEMPLATE)
    return eval(sys.argv[2])
say(siblings(child, 3))
"""


@pytest.mark.parametrize("what", DRAWN)
def test_no_two_containers_draw_the_same_but_without_renewal_they_would(what: str) -> None:
    before, draw = DRAWN[what]
    assert len(set(run(_DRAW, before, draw, "renewed"))) == 3
    assert len(set(run(_DRAW, before, draw, "copied"))) == 1, "there is no trap any more: drop the measure"


@pytest.mark.parametrize("what", DRAWN_ANYWAY)
@pytest.mark.parametrize("how", ["renewed", "copied"])
def test_these_differ_in_any_case(what: str, how: str) -> None:
    before, draw = DRAWN_ANYWAY[what]
    assert len(set(run(_DRAW, before, draw, how))) == 3


_SAME_NUMBER = """
import ssl, tempfile
from squall.runtime import syscalls
flags = syscalls.CLONE_NEWPID | (syscalls.CLONE_NEWUSER if os.geteuid() else 0)

def in_namespace(work):
    def inside():
        syscalls.unshare(flags)
        return siblings(work, 1)[0]
    return inside

def template():
    ssl.RAND_bytes(1), tempfile.mktemp()
    number = os.getpid()
    def child():
        try:
            fresh.renew(number)
        except RuntimeError as problem:
            return [os.getpid(), ssl.RAND_bytes(16).hex(), os.path.basename(tempfile.mktemp()), str(problem)]
    return [number, siblings(in_namespace(child))]

say(in_namespace(template)())
"""


@pytest.mark.needs("root", "namespaces")
def test_a_child_with_its_templates_process_id_is_refused_since_libraries_would_not_notice_the_fork() -> None:
    template, (one, other) = run(_SAME_NUMBER)
    assert template == one[0] == other[0]
    assert "the same process id" in one[3]
    assert one[2] == other[2], "tempfile does not compare process ids any more"


def test_the_main_thread_knows_its_own_number() -> None:
    assert run(
        """
        def child():
            fresh.renew(TEMPLATE)
            return [threading.main_thread().native_id == os.getpid(), threading.current_thread().name]
        say(siblings(child, 1)[0])
        """
    ) == [True, "MainThread"]


def test_the_hosts_name_is_asked_for_again() -> None:
    assert run(
        """
        import platform
        platform.uname()
        platform._uname_cache = platform._uname_cache._replace(node="the template")
        def child():
            fresh.renew(TEMPLATE)
            return platform.node() == os.uname().nodename
        say(siblings(child, 1)[0])
        """
    )


_FILE = """
with open(sys.argv[1], "w") as file:
    file.write("abcdefghij")
before = observe.look()
source = open(sys.argv[1], "rb", buffering=0)
source.read(2)
verdict = gate.judge(before, observe.look())

def child():
    kept = reopen.reopen(verdict.keep) if sys.argv[2] == "reopened" else ()
    return [source.read(3).decode(), list(kept) == [source.fileno()]]
say(siblings(child))
"""


def test_each_container_reads_a_file_on_from_where_the_import_stopped(tmp_path: Any) -> None:
    path = str(tmp_path / "source")
    assert run(_FILE, path, "reopened") == [["cde", True], ["cde", True]]
    shared = run(_FILE, path, "shared")
    assert [text for text, _ in shared] == ["cde", "fgh"], "there is no trap any more: drop the measure"


_PRINTED = """
sys.stdout = open(sys.argv[1], "w")
print("imported")
if sys.argv[2] == "settled":
    collapse.settle()
siblings(lambda: sys.stdout.flush())
sys.stdout.flush()
sys.stdout = sys.__stdout__
say(open(sys.argv[1]).read().count("imported"))
"""


def test_what_was_printed_while_importing_is_printed_once(tmp_path: Any) -> None:
    assert run(_PRINTED, str(tmp_path / "log"), "settled") == 1
    assert run(_PRINTED, str(tmp_path / "log"), "not") == 3


_EXECUTOR = """
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(2)
if sys.argv[1] == "worked":
    pool.submit(int).result()
def child():
    try:
        return pool.submit(abs, -3).result(timeout=2)
    except TimeoutError:
        return "hangs"
say(siblings(child, 1)[0])
os._exit(0)
"""


def test_an_executor_that_has_not_worked_yet_works_in_a_container_and_one_that_has_hangs() -> None:
    assert run(_EXECUTOR, "idle") == 3
    assert run(_EXECUTOR, "worked") == "hangs"


def test_numpy_has_one_thread_while_importing_and_the_containers_number_afterwards() -> None:
    found = run(
        """
        settings = quiet.before_imports(os.environ)
        before = observe.look()
        import numpy
        square = numpy.ones((400, 400))
        square @ square
        verdict = gate.judge(before, observe.look())
        wakers = quiet.after_imports()
        quiet.restore(settings, os.environ)
        collapse.settle()

        def child():
            fresh.renew(TEMPLATE)
            quiet.wake(wakers, os.environ, threads=3)
            product = float((square @ square)[0, 0])
            return [product, len(os.listdir("/proc/self/task")), os.environ.get("OPENBLAS_NUM_THREADS")]
        say([verdict.safe, [os.path.basename(one.name)[:8] for one in wakers], siblings(child)])
        """,
        OMP_NUM_THREADS="2",
    )
    assert found[0] is True
    assert len(found[1]) == 1
    # The user's own variable counts for more than the container's cores.
    assert found[2] == [[400.0, 2, None]] * 2


_TORCH = """
settings = quiet.before_imports(os.environ)
import types
torch = sys.modules["torch"] = types.ModuleType("torch")
torch.number = int(sys.argv[1]) or int(os.environ["OMP_NUM_THREADS"])
torch.get_num_threads = lambda: torch.number
torch.set_num_threads = lambda number: setattr(torch, "number", number)
wakers = quiet.after_imports()
quiet.restore(settings, os.environ)

def child():
    quiet.wake(wakers, os.environ, threads=5)
    return torch.number
say([torch.number, siblings(child)])
"""


def test_torch_gets_the_containers_number_of_threads_but_keeps_one_that_user_code_has_set() -> None:
    assert run(_TORCH, "0") == [1, [5, 5]]
    assert run(_TORCH, "4") == [4, [4, 4]]
