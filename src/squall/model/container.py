"""Container: a running copy of a function, as server and agent speak of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from squall.model.function import Function
from squall.model.gpu import Gpus
from squall.model.ids import ContainerId


class ContainerState(StrEnum):
    """Where a container stands: starting (sandbox and imports), idle or busy, stopping, ended."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    STOPPING = "stopping"
    ENDED = "ended"


class WaitReason(StrEnum):
    """Why an input waits; every waiting input has one of these."""

    STARTING = "container_starting"
    BUSY = "containers_busy"
    CAPACITY = "no_capacity"
    IMAGE = "image_building"
    RETRY = "retry_delay"
    NO_NODE = "no_node"
    CRASHING = "crash_backoff"
    RETURNING = "machines_returning"
    BUDGET = "budget_reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedContainer:
    """A container that a node shall run. gpus: the devices that it is to have, of those its function asked for."""

    id: ContainerId
    function: Function
    gpus: Gpus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEnd:
    """How a container ended.

    cause is "exit", "signal", "oom", "pids", "disk", "killed" (by us) or "unplaced" (it never began, because its node has
    not got what it was to have). Memory in bytes, cpu in seconds, memory_byte_s in bytes times seconds.
    """

    cause: str = "exit"
    code: int | None = None
    signal: int | None = None
    memory_peak_bytes: int | None = None
    memory_limit_bytes: int | None = None
    cpu_s: float | None = None
    memory_byte_s: float | None = None
    said: str = ""
