"""Inspected: what can be asked and changed of a function while it is there, the same for methods and classes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from squall.sdk.autoscaler import Update
from squall.sdk.calls import Target

if TYPE_CHECKING:
    from squall.sdk.insight import CurrentStats, FunctionInfo, FunctionStats, Look, LookAtLogs


class Inspected:
    """Something whose calls go somewhere."""

    __slots__ = ()

    def target(self) -> Target:
        """Where calls go. Raises ExecutionError while the app does not run."""
        raise NotImplementedError

    @property
    def update_autoscaler(self) -> Update:
        """Changes the bounds of its containers while the app runs; of a method, those of its object's containers."""
        return Update(self.target)

    @property
    def info(self) -> Look[FunctionInfo]:
        """What it was declared as, by the server's account."""
        insight = _insight()
        found: Look[FunctionInfo] = insight.Look(self.target, insight.info)
        return found

    @property
    def stats(self) -> Look[FunctionStats]:
        """How much it has to do, and how its last calls ended."""
        insight = _insight()
        found: Look[FunctionStats] = insight.Look(self.target, insight.stats)
        return found

    @property
    def get_current_stats(self) -> Look[CurrentStats]:
        """How many inputs wait, and how many containers there are, as numbers to scale by."""
        insight = _insight()
        found: Look[CurrentStats] = insight.Look(self.target, insight.current_stats)
        return found

    @property
    def logs(self) -> LookAtLogs:
        """What its containers have printed."""
        found: LookAtLogs = _insight().LookAtLogs(self.target)
        return found


def _insight() -> Any:
    # A container declares its functions too, and seldom asks: each fork of a template would pay for what that takes.
    return importlib.import_module("squall.sdk.insight")
