"""What containers print: in order, at once, of whatever make, bounded, and kept."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

APP = """
import os, subprocess, sys, time
import squall
app = squall.App({name!r})

@app.function(max_containers=3)
def many(number):
    print(f"hello {{number}}", flush=True)
    time.sleep(0.3)

@app.function(max_containers=1)
def speaks(what):
    exec(what)

def both(what):
    speaks.remote(what)

if __name__ == "__main__":
    with app.run():
{body}
"""


def said(house: Any, body: str, *, name: str = "printed") -> Any:
    indented = "".join(f"        {line}\n" for line in body.strip().splitlines())
    return house.run(str(house.program(APP.format(name=name, body=indented))))


def test_both_streams_of_one_function_keep_their_order(house: Any) -> None:
    body = """both('for n in range(300): print(n, file=sys.stderr if n % 3 else sys.stdout)')"""
    program = house.program(APP.format(name="order", body=f"        {body}\n"))
    # Both on one pipe, as on a terminal.
    done = house.run(
        "-c", f"import os, runpy; os.dup2(1, 2); runpy.run_path({str(program)!r}, run_name='__main__')"
    )
    # Before them, where the machine allows no namespaces, stands a note that says so.
    assert done.stdout.split()[-300:] == [str(number) for number in range(300)], done.stderr


def test_output_without_an_end_of_line_raw_bytes_and_subprocesses_arrive(house: Any) -> None:
    done = said(
        house,
        r"""
both('print("no end", end="")')
both('subprocess.run(["sh", "-c", "echo below; echo below wrongly >&2"], check=True)')
both('os.write(1, bytes([255, 254, 10])); sys.stdout.buffer.write(b"buffered\\n")')
""",
    )
    for text in ("no end", "below\n", "buffered\n", "\ufffd\ufffd\n"):
        assert text in done.stdout, (done.stdout, done.stderr)
    assert "below wrongly\n" in done.stderr


def test_what_was_printed_before_the_value_is_there_before_it(house: Any) -> None:
    done = said(house, """for n in range(30): both(f'print("inside {n}")'); print("outside", n)""")
    assert done.stdout.splitlines() == [f"{where} {n}" for n in range(30) for where in ("inside", "outside")]


def test_the_last_words_of_a_container_that_dies_arrive(house: Any) -> None:
    done = said(house, """both('print("last words"); os._exit(3)')""")
    assert "last words\n" in done.stdout
    assert "exited with code 3" in done.stderr


def test_lines_of_several_containers_say_whose_they_are(house: Any) -> None:
    done = said(house, "many.for_each(range(6))")
    lines = sorted(line.rpartition("hello")[0].strip() for line in done.stdout.splitlines())
    assert len(lines) == 6
    assert set(lines) - {""} <= {"[many 1]", "[many 2]", "[many 3]"}
    assert len(set(lines) - {""}) >= 2


def test_a_line_without_end_is_ended_before_another_container_speaks(house: Any) -> None:
    done = said(house, """both('print("no end", end="", flush=True)'); many.remote(1)""")
    assert "no end\n[many 2] hello 1\n" in done.stdout


def test_a_flood_is_held_to_a_rate_with_a_visible_count_in_order(house: Any) -> None:
    body = """both('for n in range(100_000): print(f"line {n:06} " + "x" * 400)')"""
    began = time.monotonic()
    done = said(house, body)
    assert time.monotonic() - began < 40
    numbers = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("line ")]
    assert numbers == sorted(numbers)
    assert numbers[0] == 0
    assert len(numbers) == 100_000 or "were dropped" in done.stderr


def test_output_is_kept_for_later(house: Any) -> None:
    said(house, """both('print("to be kept")')""", name="keeping")
    assert "to be kept" in house.run("-m", "squall", "logs", "keeping").stdout


def test_server_and_agent_stay_small_in_a_flood(house: Any) -> None:
    done = said(house, """both('sys.stdout.write("z" * 30_000_000 + chr(10))')""", name="flood")
    found = json.loads(house.run("-m", "squall", "status", "--json").stdout)
    for name in ("server", "agent"):
        lines = Path(f"/proc/{found[name]['pid']}/status").read_text().splitlines()
        assert next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) < 200_000
    assert done.returncode == 0
