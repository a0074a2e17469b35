"""Values there and back: every size, arrays, what cannot travel, exceptions of every make, and bounded memory."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from squall.model.errors import ArgumentNotSerializable


@pytest.mark.parametrize(
    "size", [0, 1, 65_535, 65_536, 2**21 - 300, 2**21, 2**21 + 1, 30_000_000, 100_000_000]
)
def test_bytes_of_every_size_come_back_as_they_went(verbs: Any, size: int) -> None:
    data = b"y" * size
    (args, kwargs) = verbs.shape.remote(data, other=bytearray(size // 2))
    assert args[0] == data
    assert kwargs["other"] == bytearray(size // 2)


@pytest.mark.parametrize("count", [0, 10, 20_000, 1_000_000])
def test_arrays_come_back_writable_and_leave_the_senders_alone(verbs: Any, count: int) -> None:
    sent = np.arange(float(count))
    (args, _) = verbs.shape.remote(sent)
    got = args[0]
    assert np.array_equal(got, sent)
    got += 1
    assert np.array_equal(sent, np.arange(float(count)))
    assert list(verbs.spoils.map([sent, sent])) == [count, count]
    assert np.array_equal(sent, np.arange(float(count)))


def test_an_array_that_is_used_again_for_the_next_input_is_sent_as_it_was(verbs: Any) -> None:
    def inputs() -> Any:
        reused = np.zeros(50_000)
        for number in range(20):
            reused[:] = number
            yield reused

    assert [args[0][0] for args, _ in verbs.shape.map(inputs())] == list(range(20))
    assert [array[0] for array in verbs.reuses.map(range(50))] == list(range(50))


def test_what_cannot_travel_is_named_by_its_place(verbs: Any) -> None:
    with pytest.raises(ArgumentNotSerializable, match=r"argument 1 at \['a'\]\[1\]"):
        verbs.shape.remote({"a": [1, threading.Lock()]})
    with pytest.raises(ArgumentNotSerializable, match="argument 'key'"):
        verbs.shape.spawn(key=threading.Lock())
    with pytest.raises(ArgumentNotSerializable, match="argument 1"):
        list(verbs.shape.map([1, threading.Lock()]))


PROGRAM = """
import sys, threading
import squall
app = squall.App("values")

class Own:
    def __init__(self, number): self.number = number

class Mine(Exception):
    def __init__(self, text, *, code): super().__init__(text); self.code = code; self.lock = threading.Lock()

@app.function()
def one_more(own): return Own(own.number + 1)

@app.function()
def lock(): return {"k": [threading.Lock()]}

@app.function()
def raises():
    try:
        raise KeyError("inner")
    except KeyError as inner:
        error = Mine("outer", code=7)
        error.add_note("a note")
        raise error from inner

@app.function()
def several(): raise ExceptionGroup("several", [ValueError("a"), Mine("b", code=2)])

@app.function()
def unknown():
    import types
    made = types.ModuleType("only_there"); sys.modules["only_there"] = made
    exec("class Odd(Exception): pass\\nclass Thing: pass", made.__dict__)
    raise made.Odd("odd")

@app.function()
def thing():
    try: unknown.local()
    except Exception: return sys.modules["only_there"].Thing()

def said(call):
    try:
        return call()
    except BaseException as error:
        return error

if __name__ == "__main__":
    with app.run():
        print(type(one_more.remote(Own(1))) is Own, one_more.remote(Own(1)).number)
        error = said(lock.remote)
        print(type(error).__name__, "['k'][0]" in str(error))
        error = said(raises.remote)
        print(type(error) is Mine, error, error.code, repr(error.__cause__), error.__notes__)
        error = said(several.remote)
        print(type(error).__name__, [type(part).__name__ for part in error.exceptions], error.exceptions[1].code)
        error = said(unknown.remote)
        print(type(error).__name__, "Odd" in str(error) and "odd" in str(error))
        error = said(thing.remote)
        print(type(error).__name__, "only_there" in str(error))
        def outer():
            handle = threading.Lock()
            @app.function()
            def inner(): return handle
            return inner
        try:
            outer()
        except Exception as error:
            print(type(error).__name__, "'handle' it closes over" in str(error))
"""


def test_own_types_and_exceptions_keep_what_they_are(house: Any) -> None:
    done = house.run(str(house.program(PROGRAM)))
    assert done.stdout.splitlines() == [
        "True 2",
        "ResultNotSerializable True",
        "True outer 7 KeyError('inner') ['a note']",
        "ExceptionGroup ['ValueError', 'Mine'] 2",
        "RemoteError True",
        "DeserializationError True",
        "FunctionNotSerializable True",
    ], done.stderr


def test_many_large_inputs_leave_server_and_agent_small(verbs: Any, at_home: Any) -> None:
    found = json.loads(at_home.run("-m", "squall", "status", "--json").stdout)
    pids = [found[name]["pid"] for name in ("server", "agent")]
    before = [resident(pid) for pid in pids]
    data = b"z" * 20_000_000
    assert list(verbs.size_of.map([data] * 40)) == [20_000_000] * 40
    assert sum(len(item) for item in verbs.bytes_of.map([20_000_000] * 40)) == 800_000_000
    grown = [resident(pid) - size for pid, size in zip(pids, before, strict=True)]
    assert max(grown) < 64 * 2**20


def resident(pid: int) -> int:
    """Bytes of its own that a process has had in memory at most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
