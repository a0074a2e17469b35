"""Language model: the first call on a fresh container of a class whose model was loaded once, and of one that loads it each time."""

from __future__ import annotations

import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import commands
from cold_client import TEMPLATE_RUNGS, empty, rows
from squall.sdk.client import Client
from measure import Bar, Samples, Turn, arguments, report, results_of, say

CLASSES = {
    "squall_torch_snap": "TorchSnap",
    "squall_torch_each": "TorchEach",
    "squall_llama_snap": "LlamaSnap",
    "squall_llama_each": "LlamaEach",
}
# A round gives each so many fresh containers: those that load the model take seconds.
STARTS = {"squall_torch_snap": 12, "squall_torch_each": 2, "squall_llama_snap": 2, "squall_llama_each": 4}
UNITS = {
    "first_call_ms": "ms",
    "over_generation_ms": "ms",
    "over_warm_call_ms": "ms",
    "before_generation_ms": "ms",
    "first_generation_ms": "ms",
    "warm_generation_ms": "ms",
    "warm_call_ms": "ms",
}
BARS = (
    Bar(metric="over_generation_ms", factor=100.0, who="squall_torch_snap"),
    Bar(metric="over_warm_call_ms", factor=100.0, who="squall_torch_snap"),
)
AIMS = (
    Bar(metric="over_generation_ms", factor=100.0, who="squall_torch_snap", what="p95"),
    Bar(metric="over_warm_call_ms", factor=100.0, who="squall_torch_snap", what="p95"),
)
READY_S = 400.0
AGAIN_S = 20.0
REFUSED = "without a template"
WARM_CALLS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One call, in milliseconds: until its answer was here, until generation began, and generation itself."""

    call_ms: float
    before_ms: float
    generation_ms: float
    text: str


def timed_call(model: Any) -> Timed:
    """One call of the model."""
    asked = time.monotonic()
    answer = model.answer.remote()
    here = time.monotonic()
    return Timed(
        call_ms=(here - asked) * 1e3,
        before_ms=(answer.began_s - asked) * 1e3,
        generation_ms=(answer.ended_s - answer.began_s) * 1e3,
        text=answer.text,
    )


def samples_of(first: Timed, warm: list[Timed]) -> Samples:
    """The figures of one container, from its first call and the median of those after it."""
    warm_call = statistics.median(one.call_ms for one in warm)
    return {
        "first_call_ms": [first.call_ms],
        "over_generation_ms": [first.call_ms - first.generation_ms],
        "over_warm_call_ms": [first.call_ms - warm_call],
        "before_generation_ms": [first.before_ms],
        "first_generation_ms": [first.generation_ms],
        "warm_generation_ms": [statistics.median(one.generation_ms for one in warm)],
        "warm_call_ms": [warm_call],
    }


def wait_until_ready(name: str, model: Any) -> str:
    """Calls until a container comes from a template, or the template is refused; how it started, told for people."""
    until = time.monotonic() + READY_S
    while True:
        model.answer.remote()
        row = (rows(name) or [{}])[0]
        rung, why = str(row.get("rung", "")), str(row.get("why", ""))
        empty(name)
        if rung in TEMPLATE_RUNGS or why.startswith(REFUSED) or time.monotonic() > until:
            return f"{rung}, {why}"
        time.sleep(AGAIN_S)  # each call loads the model once more, on cores that the template is being made on


@contextmanager
def running_app() -> Iterator[Any]:
    """The module of the app while it runs, on a server of its own of which nothing is left."""
    state = commands.own_state()
    try:
        module = importlib.import_module("language_model_app")
        with module.app.run():
            yield module
    finally:
        commands.stop_server(state)


def measure(contenders: list[str], rounds: int) -> dict[str, list[Turn]]:
    """The figures of each contender, who take turns; each call is the first of its container, the others follow it."""
    turns: dict[str, list[Turn]] = {who: [] for who in contenders}
    with running_app() as module:
        models = {who: getattr(module, CLASSES[who])() for who in contenders}
        names: dict[str, str] = {}
        for who, model in models.items():
            model.answer.remote()
            names[who] = next(
                row["function"]
                for row in Client.here().request("container.list")["containers"]
                if row["function"].startswith(CLASSES[who])
            )
            say(f"{who} ({names[who]}): {wait_until_ready(names[who], model)}")
        for number in range(rounds):
            shift = number % len(contenders)
            for who in contenders[shift:] + contenders[:shift]:
                for _ in range(STARTS[who]):
                    empty(names[who])
                    first = timed_call(models[who])
                    rung = (rows(names[who]) or [{}])[0].get("rung", "")
                    warm = [timed_call(models[who]) for _ in range(WARM_CALLS)]
                    samples = samples_of(first, warm)
                    turns[who].append(Turn(samples=samples))
                    say(f"round {number+1} {who} {rung} " + " ".join(f"{k} {v[0]:.0f}" for k, v in samples.items()))
                empty(names[who])
    return turns


def main() -> None:
    """Measures what is asked and prints it."""
    options = arguments(__doc__ or "", list(CLASSES))
    report(
        results_of(measure(options.contenders, options.rounds), UNITS),
        reference="squall_torch_each",
        bars={"bar": BARS, "aim": AIMS},
        json_too=options.json,
    )


if __name__ == "__main__":
    main()
