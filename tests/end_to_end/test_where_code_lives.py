"""Functions in a script, a module, a package, a notebook, on standard input; apps side by side; forks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import squall
app = squall.App("script")

@app.function()
def twice(number): return 2 * number, __name__

@app.local_entrypoint()
def main(number: int = 4):
    print("got", twice.remote(number)[0])

if __name__ == "__main__":
    with app.run():
        print("ran", twice.remote(5)[0])
    with app.run():
        print("again", twice.remote(6)[0])
"""


def test_a_script_runs_by_python_by_squall_and_from_standard_input(house: Any) -> None:
    script = house.program(SCRIPT)
    ran = house.run(str(script))
    assert ran.stdout == "ran 10\nagain 12\n", ran.stderr
    assert house.run("-m", "squall", "run", str(script), "--number", "7").stdout == "got 14\n"
    # What comes from standard input is `__main__`, as with Python itself.
    typed = house.run("-m", "squall", "run", "-", typed=SCRIPT.partition("if __name__")[0])
    assert typed.stdout == "got 8\n", typed.stderr


@pytest.fixture
def package(house: Any) -> Path:
    folder = house.program("", "empty.py").parent
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").write_text("")
    (folder / "shop" / "prices.py").write_text("TAX = 3\n")
    (folder / "shop" / "staff.py").write_text(
        "import squall\nfrom .prices import TAX\nstaff = squall.App('staff')\n"
        "@staff.function()\ndef wage(hours): return hours * TAX\n"
    )
    (folder / "shop" / "till.py").write_text(
        "import squall\nfrom .prices import TAX\nfrom . import staff\napp = squall.App('till')\n"
        "app.include(staff.staff)\n"
        "@app.function()\ndef total(price): return price + TAX + staff.wage.remote(1)\n"
        "@app.local_entrypoint()\ndef main(price: int = 1):\n"
        "    print('total', total.remote(price), staff.wage.remote(2))\n"
    )
    assert isinstance(folder, Path)
    return folder


def test_a_package_ships_with_its_siblings_and_apps_include_apps(house: Any, package: Path) -> None:
    for target in (["-m", "shop.till"], ["shop/till.py"]):
        done = house.run("-m", "squall", "run", *target, "--price", "10", cwd=package)
        assert done.stdout == "total 16 6\n", done.stderr


def test_a_module_that_is_imported_by_the_script_ships(house: Any, package: Path) -> None:
    (package / "start.py").write_text(
        "from shop.till import app, total\nif __name__ == '__main__':\n"
        "    with app.run():\n        print(total.remote(1))\n"
    )
    done = house.run("start.py", cwd=package)
    assert done.stdout == "7\n", done.stderr


NOTEBOOK = '''
import sys
del sys.modules["__main__"].__file__
names = sys.modules["__main__"].__dict__

def cell(text):
    exec(compile(text, "<cell>", "exec"), names)

cell("""
import squall
app = squall.App("notebook")
factor = 10

@app.function()
def first(number): return number + 1
run = app.run()
run.__enter__()
print(first.remote(1))
""")
cell("""
@app.function()
def second(number): return first.remote(number) * factor
print(second.remote(1))
""")
cell("""
@app.function()
def first(number): return number + 2
print(first.remote(1))
""")
cell("run.__exit__(None, None, None)")
'''


def test_a_cell_joins_the_app_that_runs_and_takes_the_place_of_an_earlier_one(house: Any) -> None:
    done = house.run(str(house.program(NOTEBOOK)))
    assert done.stdout == "2\n20\n3\n", done.stderr


SIDE_BY_SIDE = """
import os, sys
import squall
one, other = squall.App("one"), squall.App("other")
shift = 5

@one.function()
def up(number): return number + 1

@other.function(serialized=True)
def by_value(number): return number + shift

def make(step):
    @other.function(name=f"step{step}")
    def inner(number): return number + step
    return inner

hundred = make(100)

if __name__ == "__main__":
    with one.run(), other.run():
        print(up.remote(1), by_value.remote(1), hundred.remote(1))
        late = other.function(name="late")(lambda number: number - 1)
        print(late.remote(1))
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            print(up.remote(10), list(up.map([1, 2])), up.spawn(3).get(), flush=True)
            raise SystemExit(0)
        print(os.waitpid(child, 0)[1])
        print(up.remote(20), flush=True)
"""


def test_two_apps_run_at_once_and_a_forked_child_calls_too(house: Any) -> None:
    done = house.run(str(house.program(SIDE_BY_SIDE)))
    assert done.stdout.splitlines() == ["2 6 101", "0", "11 [2, 3] 4", "0", "21"], done.stderr


def test_a_program_that_runs_its_app_when_imported_is_told_where_to_put_it(house: Any) -> None:
    program = house.program(
        "import squall\napp = squall.App('eager')\n@app.function()\ndef up(n): return n + 1\n"
        "with app.run():\n    print(up.remote(1))\n"
    )
    done = house.run(str(program))
    assert done.returncode == 1
    assert 'if __name__ == "__main__":' in done.stderr


WHERE = """
import squall, threading
app = squall.App("where")

@app.function(env={"COLOUR": "blue"}, cpu=0.5, memory=(128, 512))
def inside():
    import os
    seen = []
    thread = threading.Thread(target=lambda: seen.append((squall.is_local(), squall.current_input_id())))
    thread.start(); thread.join()
    call = squall.current_function_call_id()
    return squall.is_local(), squall.current_input_id() == f"{call}:0", seen, os.environ["COLOUR"]

if __name__ == "__main__":
    print(squall.is_local(), squall.current_input_id(), squall.current_function_call_id())
    with app.run():
        print(inside.remote())
"""


def test_code_can_ask_where_it_runs(house: Any) -> None:
    done = house.run(str(house.program(WHERE)))
    # A thread of the function's own knows that it is in a container, but not for which input it was started.
    assert done.stdout == "True None None\n(False, True, [(False, None)], 'blue')\n", done.stderr


def test_ids_reach_tasks_and_threads_of_asyncio(verbs: Any) -> None:
    ids = verbs.ids_of_tasks.remote()
    assert len(set(ids)) == 1
    assert ids[0].endswith(":0")
