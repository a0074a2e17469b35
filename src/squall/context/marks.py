"""Marks: what decorators leave on classes and their functions, where both sdk and runner find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_HOOK = "__squall_hook__"
METHOD = "__squall_method__"
_BATCH = "__squall_batch__"
_TOGETHER = "__squall_together__"
_ENTERED = "__squall_entered__"


@dataclass(frozen=True, slots=True)
class Hook:
    """A function of a class that its container calls by itself. kind: "enter" or "exit"; snap: already in the template."""

    kind: str
    snap: bool = False


@dataclass(frozen=True, slots=True)
class Together:
    """How many inputs a container of a function or class works on at once; target_inputs: see `model.function`."""

    max_inputs: int
    target_inputs: int | None = None


def mark_together(raw: Any, together: Together) -> None:
    """Has containers of a function or class work on several inputs at once."""
    setattr(raw, _TOGETHER, together)


def together_of(raw: Any) -> Together:
    """How many they work on."""
    found = getattr(raw, _TOGETHER, None)
    return found if isinstance(found, Together) else Together(1)


@dataclass(frozen=True, slots=True)
class Batch:
    """A function whose calls are joined: raw takes lists, and what bears the mark one of each."""

    raw: Callable[..., Any]
    max_batch_size: int
    wait_ms: float


def mark_batch(single: Any, batch: Batch) -> None:
    """Has calls of `single` joined."""
    setattr(single, _BATCH, batch)


def batch_of(single: Any) -> Batch | None:
    """How calls of a function are joined, None where they are not."""
    found = getattr(single, _BATCH, None)
    return found if isinstance(found, Batch) else None


def mark_hook(raw: Any, hook: Hook) -> None:
    """Makes a plain function a hook of its class."""
    setattr(raw, _HOOK, hook)


def hook_of(raw: Any) -> Hook | None:
    """What hook a function is, None for one that is none."""
    found = getattr(raw, _HOOK, None)
    return found if isinstance(found, Hook) else None


def hooks(cls: type, kind: str) -> tuple[tuple[str, Hook], ...]:
    """The hooks of a class by name, those of its bases first, each in the order of its definition.

    A name that a class defines again stands where its base has it, and is a hook only if it is marked again.
    """
    found = ((name, hook_of(value)) for name, value in _members(cls).items())
    return tuple((name, hook) for name, hook in found if hook is not None and hook.kind == kind)


def methods(cls: type) -> dict[str, Callable[..., Any]]:
    """The plain functions of a class that are called remotely, by name, those of its bases first."""
    found = ((name, getattr(value, METHOD, None)) for name, value in _members(cls).items())
    return {name: raw for name, raw in found if raw is not None}


def note_entered(instance: object) -> bool:
    """Says that the enter hooks of an object run, or have run; whether that was said before."""
    before = bool(vars(instance).get(_ENTERED))
    vars(instance)[_ENTERED] = True
    return before


def _members(cls: type) -> dict[str, Any]:
    """Everything that a class has, as it is found there, in the order of the first definition of its name."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        found.update(vars(base))
    return found
