"""The ladder: by which rung a container starts, each falling to the next where it cannot be had."""

from dataclasses import dataclass
from typing import Literal

from squall.runtime.spec import SandboxSpec

Rung = Literal["spare", "pooled", "on_demand", "parked", "exec"]
RUNGS: tuple[Rung, ...] = ("spare", "pooled", "on_demand", "parked", "exec")
_OF_TEMPLATE = frozenset({"spare", "pooled", "on_demand"})
TemplateState = Literal["none", "building", "ready", "refused", "gone", "resting"]


@dataclass(frozen=True, slots=True)
class Template:
    """Start it from the template."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Start it once the template is there: loading the code a second time would not be faster."""


@dataclass(frozen=True, slots=True)
class Alone:
    """Start it without a template, in this way: "parked" or "exec"."""

    rung: Rung


@dataclass(frozen=True, slots=True)
class Cannot:
    """A rung that was demanded cannot be had."""

    why: str


Step = Template | Wait | Alone | Cannot


def next_step(
    spec: SandboxSpec, template: TemplateState, *, demanded: Rung | None, why_none: str = ""
) -> Step:
    """How a container like `spec` starts now.

    template: of the template that is for such containers. demanded: the one rung that will do. why_none: why there is
    no template.
    """
    below: Rung = "exec" if spec.argv is not None or spec.interpreter is not None else "parked"
    if demanded in _OF_TEMPLATE:
        if template in {"ready", "building"}:
            return Template() if template == "ready" else Wait()
        return Cannot(f"{demanded!r} needs a template, and there is none: {why_none or 'none was asked for'}")
    if demanded is not None:
        # An interpreter that is asked for can be started, one that is forked needs the launcher's own.
        fits = demanded == below or (demanded == "exec" and spec.argv is None)
        return (
            Alone(demanded) if fits else Cannot(f"this container needs an interpreter of its own: {below!r}")
        )
    match template:
        case "ready":
            return Template()
        case "building":
            return Wait()
        case _:
            return Alone(below)
