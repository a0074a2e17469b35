"""Declare: a decorator's keywords, checked at once and kept as one frozen noun."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from squall.context.marks import batch_of, methods, together_of
from squall.model import function as nouns
from squall.model.errors import InvalidError
from squall.model.function import Code, Retries, Scaling
from squall.model.gpu import parse_gpus
from squall.model.ids import AppId, FunctionId
from squall.model.resources import DEFAULT_CPU_MILLI, DEFAULT_MEMORY_MIB, Limits, Resources
from squall.model.schedule import Schedule, schedule_of
from squall.sdk.amounts import asks_of, limits_of
from squall.sdk.batched import batch_of_class
from squall.sdk.bucket_mount import buckets_of, keys_of
from squall.sdk.secret import Secret, checked_secrets, uses_of
from squall.sdk.volume_option import split

MAIN = "__squall_main__"
LEAST_STARTUP_S = 60.0
"""A short timeout is about inputs, not about a machine that is busy while a container starts."""
START_PATH_VARIABLE = "SQUALL_START_PATH"
_DEFAULT = Resources(cpu_milli=DEFAULT_CPU_MILLI, memory_mib=DEFAULT_MEMORY_MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A function as declared: its noun without an app, its image, its secrets with their values, and how its code travels."""

    name: str
    noun: nouns.Function
    image: Any
    raw: Callable[..., Any]
    by_value: bool
    main: str | None
    secrets: tuple[Secret, ...] = ()
    volumes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_generator(self) -> bool:
        """Whether it yields."""
        return self.noun.is_generator


def declare(
    raw: Callable[..., Any], options: Mapping[str, Any], *, is_generator: bool, is_async: bool
) -> Declared:
    """A decorated function, its options checked. Raises InvalidError that names the option."""
    name = _name_of(raw, options.get("name"))
    module = getattr(raw, "__module__", "") or ""
    main = sys.modules.get("__main__")
    is_main = module == "__main__"
    # What Python reads from standard input has "<stdin>" there, which is no file either.
    has_file = os.path.isfile(getattr(main, "__file__", None) or "") if is_main else True
    qualname = getattr(raw, "__qualname__", name)
    by_value = (
        bool(options.get("serialized")) or "<locals>" in qualname or "<lambda>" in qualname or not has_file
    )
    decorator = "@app.cls" if isinstance(raw, type) else "@app.function"
    secrets = checked_secrets(f"{decorator} of {name!r}", options.get("secrets"))
    try:
        volumes, buckets = split(options.get("volumes"))
        noun = nouns.Function(
            id=FunctionId(name),
            app=AppId(""),
            name=name,
            code=Code(
                module=module,
                qualname=qualname,
                main=is_main and has_file,
                python=f"{sys.version_info.major}.{sys.version_info.minor}",
            ),
            asks=asks_of(options.get("cpu"), options.get("memory"), _DEFAULT),
            gpu=parse_gpus(options.get("gpu")),
            limits=_limits(options),
            env=env_of(options.get("env")),
            **_timeouts(options),
            retries=retries_of(options.get("retries"), is_generator=is_generator),
            scaling=_scaling(options),
            is_generator=is_generator,
            is_async=is_async,
            level=str(options.get("level") or "sandbox"),
            single_use=bool(options.get("single_use_containers")),
            on_lost=_word("on_lost", options.get("on_lost"), "rerun"),
            buckets=buckets_of(buckets),
            block_network=_flag("block_network", options.get("block_network")),
            secrets=uses_of(secrets),
            **_together(raw, name),
            schedule=_schedule(raw, options.get("schedule"), is_generator=is_generator),
            start_path=os.environ.get(START_PATH_VARIABLE, ""),
        )
    except (TypeError, ValueError) as wrong:
        raise InvalidError(f"{decorator} of {name!r}: {wrong}") from None
    return Declared(
        name=name,
        noun=noun,
        image=options.get("image"),
        raw=raw,
        by_value=by_value,
        main=MAIN if is_main and has_file else None,
        secrets=(*secrets, *keys_of(buckets)),
        volumes=volumes,
    )


def _name_of(raw: Callable[..., Any], given: Any) -> str:
    name = str(given or getattr(raw, "__qualname__", getattr(raw, "__name__", "function")))
    name = name.replace(".<locals>", "").replace("<lambda>", "lambda")
    _check_name(name)
    return name


def _schedule(raw: Callable[..., Any], given: Any, *, is_generator: bool) -> Schedule | None:
    schedule = schedule_of(given)
    if schedule is None:
        return None
    if is_generator:
        raise ValueError("a generator has no schedule: nobody takes what it yields")
    needed = [
        name
        for name, one in inspect.signature(raw).parameters.items()
        if one.default is one.empty and one.kind not in {one.VAR_POSITIONAL, one.VAR_KEYWORD}
    ]
    if needed:
        raise ValueError(
            f"nobody gives a scheduled function arguments, and {', '.join(needed)} {'has' if len(needed) == 1 else 'have'} no default"
        )
    return schedule


def _together(raw: Any, name: str) -> dict[str, Any]:
    """How many inputs a container works on at once, or has joined into one call."""
    together = together_of(raw)
    batch = batch_of_class(methods(raw), of=name) if isinstance(raw, type) else batch_of(raw)
    joined = {"max_batch": batch.max_batch_size, "batch_wait_s": batch.wait_ms / 1e3} if batch else {}
    return {"max_inputs": together.max_inputs, "target_inputs": together.target_inputs, **joined}


def _timeouts(options: Mapping[str, Any]) -> dict[str, Any]:
    timeout = options.get("timeout") or 300
    startup = options.get("startup_timeout") or max(LEAST_STARTUP_S, timeout)
    return {"timeout_s": float(timeout), "startup_timeout_s": float(startup)}


def _check_name(name: str) -> None:
    if not name or len(name) > 100 or not all(char.isalnum() or char in "-_." for char in name):
        raise InvalidError(
            f"{name!r} is no name for a function",
            remedy="letters, digits, '-', '_' and '.', at most 100: `@app.function(name=...)`",
        )


def _word(what: str, given: Any, default: str) -> str:
    if not isinstance(given, str | None):
        raise TypeError(f"{what} is a word, not {given!r}")
    return default if given is None else given


def _flag(what: str, given: Any) -> bool:
    if not isinstance(given, bool | None):
        raise TypeError(f"{what} is True or False, not {given!r}")
    return bool(given)


def _limits(options: Mapping[str, Any]) -> Limits:
    disk = options.get("ephemeral_disk")
    return limits_of(options.get("cpu"), options.get("memory"), None if disk is None else int(disk))


def env_of(env: Any) -> dict[str, str]:
    """The variables of an option. Raises TypeError, ValueError."""
    if env is None:
        return {}
    if not isinstance(env, Mapping) or not all(
        isinstance(k, str) and isinstance(v, str) for k, v in env.items()
    ):
        raise TypeError("env is a dict of strings")
    for name in env:
        if not name or "=" in name or "\0" in name or "\0" in env[name]:
            raise ValueError(f"no environment can hold the variable {name!r}")
    return dict(env)


def retries_of(retries: Any, *, is_generator: bool) -> Retries | None:
    """The policy of an option. Raises TypeError, ValueError."""
    if retries is None or retries == 0:
        return None
    if is_generator:
        raise ValueError("a generator cannot be retried: its consumer has taken items already")
    if isinstance(retries, Retries):
        return retries
    if isinstance(retries, bool) or not isinstance(retries, int):
        raise TypeError(f"retries is a number or squall.Retries(...), not {retries!r}")
    return Retries(max_retries=retries, backoff_coefficient=1.0, initial_delay=1.0)


def _scaling(options: Mapping[str, Any]) -> Scaling:
    window = options.get("scaledown_window")
    return Scaling(
        min_containers=int(options.get("min_containers") or 0),
        max_containers=options.get("max_containers"),
        buffer_containers=int(options.get("buffer_containers") or 0),
        scaledown_window_s=60.0 if window is None else float(window),
    )
