"""Language model: the first call on a fresh container of a class whose model was loaded once, and of one that loads it each time."""

from __future__ import annotations

import importlib
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import commands
from cold_client import TEMPLATE_RUNGS, empty, rows
from measure import Bar, Samples, Turn, arguments, report, results_of, say
from squall.sdk.client import Client

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
    "over_and_extra_ms": "ms",
    "over_warm_call_ms": "ms",
    "before_generation_ms": "ms",
    "first_generation_ms": "ms",
    "warm_generation_ms": "ms",
    "extra_cpu_ms": "ms",
    "warm_call_ms": "ms",
}
BARS = (
    Bar(metric="over_generation_ms", factor=100.0, who="squall_torch_snap"),
    Bar(metric="over_and_extra_ms", factor=100.0, who="squall_torch_snap"),
)
AIMS = (
    Bar(metric="over_generation_ms", factor=100.0, who="squall_torch_snap", what="p95"),
    Bar(metric="over_and_extra_ms", factor=100.0, who="squall_torch_snap", what="p95"),
)
READY_S = 400.0
AGAIN_S = 20.0
REFUSED = "without a template"
WARM_CALLS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One call, in milliseconds: until its answer was here, until generation began, generation, and its processor time."""

    call_ms: float
    before_ms: float
    generation_ms: float
    cpu_ms: float
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
        cpu_ms=answer.cpu_s * 1e3,
        text=answer.text,
    )


def samples_of(first: Timed, warm: list[Timed]) -> Samples:
    """The figures of one container, from its first call and the median of those after it."""
    warm_call = statistics.median(one.call_ms for one in warm)
    extra_cpu = first.cpu_ms - statistics.median(one.cpu_ms for one in warm)
    return {
        "first_call_ms": [first.call_ms],
        "over_generation_ms": [first.call_ms - first.generation_ms],
        "over_and_extra_ms": [first.call_ms - first.generation_ms + extra_cpu],
        "over_warm_call_ms": [first.call_ms - warm_call],
        "before_generation_ms": [first.before_ms],
        "first_generation_ms": [first.generation_ms],
        "warm_generation_ms": [statistics.median(one.generation_ms for one in warm)],
        "extra_cpu_ms": [extra_cpu],
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
        time.sleep(
            AGAIN_S
        )  # each call loads the model once more, on cores that the template is being made on


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


def name_of(who: str) -> str:
    """What the server calls the class of a contender that has a container now."""
    found = Client.here().request("container.list")["containers"]
    return next(str(row["function"]) for row in found if row["function"].startswith(CLASSES[who]))


def turn(who: str, name: str, model: Any) -> Turn:
    """Fresh containers, one after another: the first call of each, and some that follow. Raises RuntimeError for a wrong answer."""
    samples: Samples = {}
    for _ in range(STARTS[who]):
        empty(name)
        first = timed_call(model)
        warm = [timed_call(model) for _ in range(WARM_CALLS)]
        if said := {one.text for one in warm} - {first.text}:
            raise RuntimeError(f"{who} answered {first.text!r}, and then {said}")
        for metric, values in samples_of(first, warm).items():
            samples.setdefault(metric, []).extend(values)
    empty(name)
    return Turn(samples=samples)


def measure(contenders: list[str], rounds: int) -> dict[str, list[Turn]]:
    """The turns of each contender, who take them one after another, on one server."""
    turns: dict[str, list[Turn]] = {who: [] for who in contenders}
    with running_app() as module:
        models = {who: getattr(module, CLASSES[who])() for who in contenders}
        names: dict[str, str] = {}
        for who, model in models.items():
            model.answer.remote()
            names[who] = name_of(who)
            say(f"{who}: {wait_until_ready(names[who], model)}")
        for number in range(rounds):
            shift = number % len(contenders)
            for who in contenders[shift:] + contenders[:shift]:
                taken = turn(who, names[who], models[who])
                turns[who].append(taken)
                middle = {metric: statistics.median(values) for metric, values in taken.samples.items()}
                told = ", ".join(f"{metric} {value:.0f}" for metric, value in middle.items())
                say(f"round {number + 1}/{rounds} {who}: load {os.getloadavg()[0]:.1f}, {told}")
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
