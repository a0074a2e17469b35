"""Function: everything that a decorator declared, as one frozen noun that travels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from squall.model.gpu import Gpus
from squall.model.ids import AppId, FunctionId
from squall.model.parameters import Parameter
from squall.model.resources import DEFAULT_CPU_MILLI, DEFAULT_MEMORY_MIB, Limits, Resources
from squall.model.volume import VolumeMount, check_mounts

MAX_TIMEOUT_S = 86_400.0
MOST_INPUTS = 1000
MOST_BATCH_WAIT_S = 600.0
# From the least that is kept apart to the most.
LEVELS = ("process", "sandbox", "sandbox-strict", "crun", "runc", "gvisor")
# What becomes of an input whose container was lost after it may have begun: it runs again, or it ends.
ON_LOST = ("rerun", "fail")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often, and after how long, an input whose function raised is tried again.

    max_retries: 0 to 10. initial_delay, max_delay: seconds, max_delay at most 60. The delay before retry n is
    initial_delay * backoff_coefficient ** (n - 1) and up to a quarter more, which differs from input to input; at most
    max_delay.
    """

    max_retries: int = 3
    backoff_coefficient: float = 2.0
    initial_delay: float = 1.0
    max_delay: float = 60.0

    def __post_init__(self) -> None:
        if not 0 <= self.max_retries <= 10:
            raise ValueError(f"max_retries is between 0 and 10, not {self.max_retries}")
        if not 1.0 <= self.backoff_coefficient <= 10.0:
            raise ValueError(f"backoff_coefficient is between 1 and 10, not {self.backoff_coefficient}")
        if not 0.0 <= self.initial_delay <= 60.0 or not 0.0 <= self.max_delay <= 60.0:
            raise ValueError("delays are between 0 and 60 seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """The bounds within which containers come and go.

    min_containers are kept alive always, max_containers is the ceiling (None: the platform's), buffer_containers
    are kept idle on top while there is load, scaledown_window_s is the idle time in seconds (2 to 3600) after which
    a container goes.
    """

    min_containers: int = 0
    max_containers: int | None = None
    buffer_containers: int = 0
    scaledown_window_s: float = 60.0

    def __post_init__(self) -> None:
        if self.min_containers < 0 or self.buffer_containers < 0:
            raise ValueError("min_containers and buffer_containers are never below zero")
        if self.max_containers is not None and self.max_containers < max(1, self.min_containers):
            raise ValueError(
                f"max_containers={self.max_containers} is below 1 or below min_containers={self.min_containers}"
            )
        if not 2.0 <= self.scaledown_window_s <= 3600.0:
            raise ValueError(f"scaledown_window is between 2 and 3600 seconds, not {self.scaledown_window_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Where a function's code comes from: a module reference, or, by value, a pickle made by the client.

    module and qualname name it; root is the client's directory that ships as the source (tracebacks are shown
    under it); source is the digest of the shipped tree; pickled is the digest of the by-value code; python is the
    client's "3.11" and matters only for by-value code. main says that the module ran as `__main__`.
    """

    module: str
    qualname: str
    root: str | None = None
    source: str | None = None
    pickled: str | None = None
    python: str = ""
    main: bool = False
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method of a class that is called remotely."""

    name: str
    is_generator: bool = False
    is_async: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One remote function as it was declared. Times in seconds; image and client_python are their JSON forms.

    A class is one too: each of its containers has one object of it, made with `values` of its `parameters` (their JSON
    forms; None where some are missing, and no container can be made), and each input names one of its `methods`.

    gpu: what of GPUs each container gets, the first choice first; one of them comes on top of `asks`.
    on_lost: one of ON_LOST.
    max_inputs: how many inputs a container works on at once; target_inputs: how many it is meant to have while more
    containers can be had, None for all of them.
    max_batch: how many inputs are joined into one call of it at most, 0 for none; batch_wait_s: how long the first of them waits for
    others.
    volumes: what of volumes its containers have, by their paths.
    start_path: the only way in which its containers may start, for tests and diagnosis; "" for the best there is.
    """

    id: FunctionId
    app: AppId
    name: str
    code: Code
    image: dict[str, Any] = field(default_factory=dict)
    client_python: dict[str, Any] = field(default_factory=dict)
    asks: Resources = Resources(cpu_milli=DEFAULT_CPU_MILLI, memory_mib=DEFAULT_MEMORY_MIB)
    gpu: tuple[Gpus, ...] = ()
    limits: Limits = Limits()
    env: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 300.0
    startup_timeout_s: float = 300.0
    retries: Retries | None = None
    scaling: Scaling = Scaling()
    is_generator: bool = False
    is_async: bool = False
    level: str = "sandbox"
    single_use: bool = False
    on_lost: str = "rerun"
    block_network: bool = False
    start_path: str = ""
    methods: tuple[Method, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    values: dict[str, Any] | None = None
    max_inputs: int = 1
    target_inputs: int | None = None
    max_batch: int = 0
    batch_wait_s: float = 0.0
    volumes: tuple[VolumeMount, ...] = ()

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"level is one of {', '.join(map(repr, LEVELS))}, not {self.level!r}")
        if self.on_lost not in ON_LOST:
            raise ValueError(f"on_lost is one of {', '.join(map(repr, ON_LOST))}, not {self.on_lost!r}")
        check_mounts(self.volumes)
        if not 1 <= self.max_inputs <= MOST_INPUTS:
            raise ValueError(f"max_inputs is between 1 and {MOST_INPUTS}, not {self.max_inputs}")
        if self.target_inputs is not None and not 1 <= self.target_inputs <= self.max_inputs:
            raise ValueError(
                f"target_inputs is between 1 and max_inputs, {self.max_inputs}, not {self.target_inputs}"
            )
        if self.single_use and self.side_by_side:
            raise ValueError("a single-use container works on one input, and max_inputs says more")
        if not 0 <= self.max_batch <= MOST_INPUTS:
            raise ValueError(f"max_batch_size is between 1 and {MOST_INPUTS}, not {self.max_batch}")
        if not 0.0 <= self.batch_wait_s <= MOST_BATCH_WAIT_S:
            raise ValueError(f"wait_ms is between 0 and {1e3 * MOST_BATCH_WAIT_S:g}")
        if self.max_batch and (self.side_by_side or self.single_use):
            other = "@squall.concurrent" if self.side_by_side else "single_use_containers"
            raise ValueError(f"@squall.batched and {other} do not go together")
        for what, seconds in (("timeout", self.timeout_s), ("startup_timeout", self.startup_timeout_s)):
            if not 1.0 <= seconds <= MAX_TIMEOUT_S:
                raise ValueError(f"{what} is between 1 and {MAX_TIMEOUT_S:g} seconds, not {seconds}")

    @property
    def at_most_once(self) -> bool:
        """Whether no input may begin a second time, unless its own policy tries it again after it raised."""
        return self.on_lost == "fail"

    @property
    def may_yield(self) -> bool:
        """Whether a call of it may be one of items."""
        return self.is_generator or any(one.is_generator for one in self.methods)

    @property
    def is_bound(self) -> bool:
        """Whether containers can be made of it: every parameter has its value."""
        return not self.parameters or self.values is not None

    @property
    def side_by_side(self) -> bool:
        """Whether a container works on several inputs at once."""
        return self.max_inputs > 1

    @property
    def begins_all(self) -> bool:
        """Whether a container begins at once with all that it is given, so that all of it was being run when it is lost."""
        return self.side_by_side or bool(self.max_batch)

    @property
    def one_at_a_time(self) -> bool:
        """Whether a container holds one input and no more: what it holds may have begun, and nothing else has."""
        return self.single_use or self.at_most_once
