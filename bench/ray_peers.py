"""Ray: tasks and actors with two workers on a local cluster that is started for the turn and stopped after it."""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import work
from call_peers import WORKERS, Mapped, Peer, best_chunk

ray: Any = importlib.import_module("ray")
ActorPool: Any = importlib.import_module("ray.util").ActorPool


class Worker:
    """The body of an actor: the bench's functions as methods."""

    def tag(self, value: int) -> tuple[int, int]:
        return work.tag(value)

    def tag_all(self, values: list[int]) -> list[tuple[int, int]]:
        return work.tag_all(values)

    def nap(self, seconds: float) -> float:
        return work.nap(seconds)

    def nap_all(self, seconds: list[float]) -> list[float]:
        return work.nap_all(seconds)

    def weigh(self, data: Any) -> int:
        return work.weigh(data)


class RayPeer:
    """Calls through Ray; what differs between tasks and actors is only who is asked (`_ask`) and how naps are dealt."""

    def __init__(self, values: Sequence[int], *, actors: bool, chunked: bool) -> None:
        self.notes: list[str] = []
        self._actors: list[Any] = [ray.remote(Worker).remote() for _ in range(WORKERS)] if actors else []
        self._turn = itertools.cycle(self._actors)
        self._tasks: dict[str, Any] = {
            name: ray.remote(getattr(work, name)) for name in ("tag", "tag_all", "nap", "nap_all", "weigh")
        }
        ray.get([self._ask("nap", 0.2) for _ in range(WORKERS * 2)])
        self._chunk = 1
        if chunked:
            self._chunk, line = best_chunk(lambda chunk: self._map(values, chunk))
            self.notes.append(line)

    def _ask(self, name: str, argument: Any) -> Any:
        if self._actors:
            return getattr(next(self._turn), name).remote(argument)
        return self._tasks[name].remote(argument)

    def call(self, value: int) -> tuple[int, int]:
        got: tuple[int, int] = ray.get(self._ask("tag", value))
        return got

    def calls(self, count: int, in_flight: int) -> None:
        pending: list[Any] = []
        for value in range(count):
            if len(pending) >= in_flight:
                _, pending = ray.wait(pending, num_returns=1)
            pending.append(self._ask("tag", value))
        ray.get(pending)

    def map(self, values: Sequence[int]) -> Mapped:
        return self._map(values, self._chunk)

    def naps(self, seconds: Sequence[float]) -> None:
        name, parts = (
            ("nap", list(seconds)) if self._chunk == 1 else ("nap_all", _split(seconds, self._chunk))
        )
        if self._actors:
            # An actor is dealt its next input when it has ended one; dealing in turn would leave one idle.
            list(
                ActorPool(self._actors).map_unordered(
                    lambda actor, part: getattr(actor, name).remote(part), parts
                )
            )
        else:
            ray.get([self._ask(name, part) for part in parts])

    def weigh(self, data: Any) -> int:
        got: int = ray.get(self._ask("weigh", data))
        return got

    def _map(self, values: Sequence[int], chunk: int) -> Mapped:
        started = time.perf_counter()
        if chunk == 1:
            asked = [self._ask("tag", value) for value in values]
        else:
            asked = [self._ask("tag_all", part) for part in _split(values, chunk)]
        ray.get(asked[0])
        first_s = time.perf_counter() - started
        got = ray.get(asked)
        total_s = time.perf_counter() - started
        results = got if chunk == 1 else list(itertools.chain.from_iterable(got))
        return Mapped(first_s=first_s, total_s=total_s, results=results)


def _split(values: Sequence[Any], size: int) -> list[list[Any]]:
    return [list(values[at : at + size]) for at in range(0, len(values), size)]


@contextmanager
def ray_peer(values: Sequence[int], *, actors: bool, chunked: bool) -> Iterator[Peer]:
    """A Ray cluster of this process alone, with two CPUs declared and no dashboard."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    folder = tempfile.mkdtemp(prefix="ray-")
    try:
        ray.init(
            address="local",
            num_cpus=WORKERS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=2**30,
            _temp_dir=folder,
        )
        yield RayPeer(values, actors=actors, chunked=chunked)
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
