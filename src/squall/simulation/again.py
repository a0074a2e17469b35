"""Again: what a container says anew over a new connection, and which of it counts, as `server/containers.py` judges it."""

from __future__ import annotations

from collections.abc import Iterable

from squall.scheduling.inputs import FunctionLine, Segment, singles
from squall.simulation.records import Worker


class Reader:
    """Reads numbered messages of containers, of which some come twice."""

    def is_news(self, worker: Worker, number: int) -> bool:
        """Whether a message was not seen before. number: 0 for what is not numbered."""
        if number and number <= worker.seen:
            return False
        worker.seen = number or worker.seen
        return True

    def missing(self, line: FunctionLine, worker: Worker, holding: Iterable[Segment]) -> list[Segment]:
        """The inputs that a container was given and that have never reached it. holding: what it says that it has."""
        here = {
            (part.call, index, part.attempt) for part in holding for index in range(part.start, part.stop)
        }
        return [
            one
            for part in line.held(worker.id)
            for one in singles(part)
            if (one.call, one.start, one.attempt) not in here
        ]
