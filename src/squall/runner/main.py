"""The runner's life: streams, link, the user's code, inputs, the end."""

from __future__ import annotations

import base64
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import Any

from squall.context import current
from squall.model.function import Function
from squall.model.jsonable import from_json
from squall.runner import load, place, preload, raised, stdio
from squall.runner.batches import BatchRunner
from squall.runner.callee import Callees, make_object
from squall.runner.leased import LeasedInput
from squall.runner.link import RunnerLink
from squall.runner.run import InputRunner, end_quietly, exit_now, is_stopping, stop_on_sigterm
from squall.runner.side_by_side import SideBySide
from squall.wire.codec import Frame
from squall.wire.rights import close_all

Head = dict[str, Any]


def main(control: int, log: int) -> None:
    """Runs a container until the agent ends it; control and log are descriptors from the launcher.

    Never returns: the process ends with it.
    """
    stdio.take_over(log)
    os.set_inheritable(control, False)
    code = 1
    try:
        _Container(socket.socket(fileno=control)).live()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:  # noqa: BLE001 - the last frame of the process: say what happened, then end it
        sys.excepthook(*sys.exc_info())
    exit_now(code)


class _Container:
    """What one container process holds: its link, and from the first frame on its function."""

    def __init__(self, control: socket.socket) -> None:
        self._link = RunnerLink(control)
        self._link.on_serve = self._on_serve
        self._link.holding = self._holding
        self._given: SimpleQueue[tuple[Head, Frame]] = SimpleQueue()
        self._runner: InputRunner | SideBySide | None = None
        self._ready: Head | None = None

    def live(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        source = place.take_place()
        stop_on_sigterm()
        threading.Thread(target=self._link.run, name="squall-link", daemon=True).start()
        head, frame = self._given.get()
        function = from_json(Function, head["function"])
        here = current.Container(
            id=str(head["container"]),
            function=function.id,
            app=function.app,
            link=self._link,
            volumes=tuple((one.path, one.volume, not one.read_only) for one in function.volumes),
        )
        current.enter_container(here)
        os.environ.update({str(key): str(value) for key, value in head.get("env", {}).items()})
        started = time.perf_counter()
        try:
            call_user, made = preload.preloaded(function) or (None, None)
            if call_user is None:
                pickled = bytes(frame.payload) if head.get("pickled") else None
                call_user = load.load(function.code, pickled=pickled, source_dir=source)
            if made is None:
                made = make_object(function, call_user)
            for hook in current.after_fork:
                hook()
            callees = Callees(function, call_user, made)
            callees.enter()
        except BaseException as error:
            if is_stopping():
                raise
            self._refuse(error, source)
            self._given.get()
            return
        self._runner = runner = _kind(function)(function, callees, self._link, source)
        if "largest" in head:
            runner.bound_results(int(head["largest"]))
        stdio.flush()
        self._ready = {"seconds": time.perf_counter() - started}
        self._link.post({"t": "ready", **self._ready})
        try:
            runner.run()
        finally:
            end_quietly()
            callees.leave()

    def _refuse(self, error: BaseException, source: str) -> None:
        described, pickled = raised.describe(error, source_root=source)
        stdio.flush()
        head: Head = {"t": "unready", "error": described}
        if isinstance(error, ModuleNotFoundError) and error.name:
            head["missing"] = error.name
        if pickled:
            head["pickled"] = base64.b64encode(pickled).decode() if len(pickled) < 16_384 else None
        self._ready = {"failed": True}
        self._link.post(head)

    def _holding(self) -> Head:
        held = self._runner.holding() if self._runner is not None else []
        return {
            "holding": held,
            "ready": self._ready,
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
            "pid": os.getpid(),
        }

    def _on_serve(self, head: Head, frame: Frame) -> None:
        """A frame on the serving stream, in the link's thread."""
        kind = head.get("t")
        if "a" in head:
            self._link.acknowledged(head["a"])
        if kind == "in" and self._runner is not None:
            self._runner.lease(_inputs(head, frame))
        elif kind == "function":
            if self._ready is None and self._runner is None:
                self._given.put((head, frame))
        elif kind == "interrupt" and self._runner is not None:
            self._runner.interrupt(head["call"], head["start"], head["stop"], head["why"])
        elif kind == "yield" and self._runner is not None:
            self._runner.make_way()
        elif kind == "credit" and self._runner is not None:
            self._runner.credit(str(head["call"]), int(head["items"]), head.get("upto"))
        elif kind == "end":
            if self._runner is not None:
                self._runner.stop()
            else:
                self._given.put((head, frame))


def _kind(function: Function) -> type[InputRunner | SideBySide]:
    """How inputs of a function are run."""
    if function.max_batch:
        return BatchRunner
    return SideBySide if function.side_by_side else InputRunner


def _inputs(head: Head, frame: Frame) -> deque[LeasedInput]:
    """The inputs that a frame leases, each with its slice of the payload and its descriptors."""
    found: deque[LeasedInput] = deque()
    data, at = frame.payload, 0
    fds = frame.take_fds()
    for call, start, attempt, sizes in head["L"]:
        for index, size in enumerate(sizes, start):
            if type(size) is int:
                found.append(LeasedInput((call, index, attempt), size, data[at : at + size], ()))
                at += size
            elif type(size) is list:
                total = sum(size)
                found.append(LeasedInput((call, index, attempt), size, data[at : at + total], ()))
                at += total
            else:
                found.append(LeasedInput((call, index, attempt), size, b"", (fds[size["f"]],)))
    used = {fd for item in found for fd in item.fds}
    close_all(fd for fd in fds if fd not in used)
    return found
