"""A fresh interpreter that is a template for one test: runs a program, and gives back what it said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]

# What every program starts with. `siblings` forks children, one after the other, and gives what each returns.
_HEAD = """
import json, os, signal, sys, threading, time
from squall.runner import fresh
from squall.runtime.template import canary, collapse, gate, observe, quiet, reopen

TEMPLATE = os.getpid()

def say(value):
    print(json.dumps(value), flush=True)

def siblings(child, count=2):
    found = []
    for _ in range(count):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(write, json.dumps(child()).encode())
            finally:
                os._exit(0)
        os.close(write)
        data = b""
        while part := os.read(read, 65536):
            data += part
        os.close(read)
        os.waitpid(pid, 0)
        found.append(json.loads(data) if data else None)
    return found
"""

_JUDGED = """
def imports():
{imports}

before = observe.look()
held = imports()
after = observe.look()
verdict = gate.judge(before, after)
say({{
    "safe": verdict.safe,
    "reasons": [[one.word, one.module, str(one)] for one in verdict.reasons],
    "warnings": [[one.word, one.module, str(one)] for one in verdict.warnings],
    "keep": verdict.keep,
}})
os._exit(0)
"""


def run(program: str, *arguments: str, **environ: str) -> Any:
    """What `program` said last, in a fresh interpreter. environ: variables beside those of the test."""
    done = subprocess.run(
        [sys.executable, "-c", _HEAD + textwrap.dedent(program), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def judged(imports: str, **environ: str) -> Any:
    """What the gate says when a template runs `imports`, the body of a function; what that returns stays alive."""
    return run(_JUDGED.format(imports=textwrap.indent(textwrap.dedent(imports), "    ")), **environ)


def words(verdict: Any) -> set[str]:
    """The words of a verdict's reasons."""
    return {word for word, _, _ in verdict["reasons"]}
