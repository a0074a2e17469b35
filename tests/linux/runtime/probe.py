"""Probe: the runner of the tests' own, and the program of a launcher that forks it, as text."""

from __future__ import annotations

RUNNER = '''
"""Runs the Python code that the environment holds; `control` and `log` are there for it to use."""
import os, sys

loaded = {}

def main(control, log):
    names = {"control": control, "log": log, "loaded": loaded, "__name__": "probe"}
    exec(compile(os.environ["CODE"], "probe", "exec"), names)

def ahead(load):
    exec(compile(load["packages"], "packages", "exec"), loaded)
    return load["names"]

def suits(load, names):
    if load["names"] != names:
        raise ValueError("other packages")

def preload(load):
    try:
        exec(compile(load["code"], "loaded", "exec"), loaded)
    except Exception as error:
        return {"t": "refused", "reason": "import", "why": type(error).__name__}
    return {"t": "ready"}

if __name__ == "__main__":
    main(*map(int, os.environ["SQUALL_RUNNER_FDS"].split(",")))
'''
LAUNCH = """
import sys
sys.path[:0] = {path!r}
import {warm}
from squall.runtime.launcher.main import main
sys.exit(main({arguments!r}))
"""
