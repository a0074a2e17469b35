"""Classes whose enter hooks may run in a template: what each object saw, and when its hooks ran."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import squall

app = squall.App("snap")


class Base:
    @squall.enter()
    def own(self) -> None:
        self.order.append("own")
        self.own_id = uuid.uuid4().hex

    @squall.enter(snap=True)
    def first(self) -> None:
        self.order = ["first"]


@app.cls(single_use_containers=True, env={"MOOD": "calm"})
class Snapped(Base):
    size: int = squall.parameter(default=1)

    @squall.enter(snap=True)
    async def second(self) -> None:
        await asyncio.sleep(0)
        self.order.append("second")
        self.made_id = uuid.uuid4().hex
        self.saw = [
            self.size,
            os.environ["MOOD"],
            "SQUALL_CONTAINER" in os.environ,
            Path(__file__).exists(),
            squall.is_local(),
        ]

    @squall.method()
    def look(self) -> dict[str, Any]:
        return {"made": self.made_id, "own": self.own_id, "saw": self.saw, "order": self.order}


@app.cls(single_use_containers=True, startup_timeout=24)
class Wanting:
    """Its hook wants what it names, of which a template has nothing."""

    what: str = squall.parameter()

    @squall.enter(snap=True)
    def load(self) -> None:
        self.got = getattr(self, f"_{self.what}")()

    def _network(self) -> str:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname()).close()
        return "a connection"

    def _patience(self) -> str:
        while True:
            try:
                return self._network()
            except OSError:
                time.sleep(0.05)

    def _thread(self) -> str:
        self.stop = threading.Event()
        threading.Thread(target=self.stop.wait, daemon=True).start()
        return "a thread"

    def _call(self) -> int:
        return answer.remote()

    @squall.method()
    def look(self, seconds: float) -> Any:
        time.sleep(seconds)
        return self.got


@app.function()
def answer() -> int:
    return 42


@app.local_entrypoint()
def main(what: str = "") -> None:
    if what:
        # More than cores: those that come later wait for a template, until it is clear that there is none.
        most = 2 + len(os.sched_getaffinity(0))
        wanting = Wanting(what=what)  # type: ignore[call-arg]
        print(json.dumps(list(wanting.look.map([1.0] * most))))
        return
    looked = {
        size: [Snapped(size=size).look.remote() for _ in range(2)]  # type: ignore[call-arg]
        for size in (1, 2)
    }
    json.dump(looked, sys.stdout)
