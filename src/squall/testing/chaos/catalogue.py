"""The catalogue of faults that a storm draws from: what is done, and what holds all the same."""

from __future__ import annotations

from functools import partial

from squall.testing.chaos.gated import CLIENTS_FAULTS
from squall.testing.chaos.scene import Fault, Scene

_WORK = "every input has its one result"
_NAMED = "the call ends with the error that names it, and no other call is hindered"


def _kill(*roles: str) -> partial[float | None]:
    return partial(_end, roles=roles)


def _end(scene: Scene, *, roles: tuple[str, ...]) -> float | None:
    return scene.end(*roles)


def _halt(role: str, seconds: float) -> partial[float | None]:
    return partial(_stop, role=role, seconds=seconds)


def _stop(scene: Scene, *, role: str, seconds: float) -> float | None:
    return scene.halt(role, seconds)


def _starve(scene: Scene, *, role: str) -> float | None:
    return scene.starve(role, 2.0)


def _hostile(scene: Scene, *, kind: str) -> float | None:
    return scene.hostile(kind)


def _second(scene: Scene, *, role: str) -> float | None:
    return scene.second(role)


def _calls(number: str, what: str, kind: str, holds: str = _NAMED) -> Fault:
    return Fault(
        number=number,
        what=what,
        holds=holds,
        inject=partial(_hostile, kind=kind),
        proof="the caller of the hostile calls, and the ledger of all others",
        breaks=False,
    )


FAULTS: tuple[Fault, ...] = (
    Fault(number="F03", what="server killed", holds=_WORK, inject=_kill("server")),
    Fault(
        number="F07",
        what="agent killed",
        holds=f"containers go on; {_WORK}",
        inject=_kill("agent"),
    ),
    Fault(number="F07a", what="server and agent killed", holds=_WORK, inject=_kill("server", "agent")),
    Fault(number="F08", what="launcher killed", holds=_WORK, inject=_kill("launcher")),
    Fault(number="F08a", what="first process of a container killed", holds=_WORK, inject=_kill("init")),
    Fault(number="F09", what="runner killed", holds=_WORK, inject=_kill("runner")),
    Fault(number="F10", what="template killed", holds="its containers live on", inject=_kill("template")),
    Fault(
        number="F11",
        what="supervisor, server and agent killed together",
        holds=f"a client starts them again; {_WORK}",
        inject=_kill("supervisor", "server", "agent"),
    ),
    Fault(number="F11a", what="supervisor killed", holds="nobody notices", inject=_kill("supervisor")),
    Fault(
        number="F15",
        what="server without descriptors",
        holds="what runs goes on, and it recovers",
        inject=partial(_starve, role="server"),
    ),
    Fault(
        number="F15a",
        what="agent without descriptors",
        holds="what runs goes on, and it recovers",
        inject=partial(_starve, role="agent"),
    ),
    Fault(
        number="F17",
        what="agent stopped for 4 s",
        holds="nothing runs twice for it",
        inject=_halt("agent", 4.0),
    ),
    Fault(number="F17a", what="server stopped for 2 s", holds=_WORK, inject=_halt("server", 2.0)),
    Fault(number="F17b", what="launcher stopped for 1 s", holds=_WORK, inject=_halt("launcher", 1.0)),
    Fault(number="F17c", what="runner stopped for 1 s", holds=_WORK, inject=_halt("runner", 1.0)),
    _calls("F21", "out of memory", "oom"),
    _calls("F22", "poison input", "poison", "one input of sixty ends with an error that names it"),
    Fault(
        number="F23",
        what="client killed in the middle of a map",
        holds="its app ends, and no container of it is left",
        inject=Scene.lose_client,
        proof="the apps and containers that `squall status` lists at the end",
        breaks=False,
    ),
    _calls("F30", "forty callers at once, cold", "many_threads", "each is answered its own"),
    _calls("F31", "fork bomb", "fork_bomb"),
    _calls("F32", "flood of output", "log_flood", "it is cut or passed on, and nobody waits"),
    _calls("F33", "orphans by the hundred", "zombies", "the container's first process reaps them"),
    _calls("F34", "code that ignores signals", "ignores_signals"),
    Fault(
        number="F36",
        what="everything killed, and the directory of the run time lost",
        holds=f"a client starts them again; {_WORK}",
        inject=Scene.reboot,
    ),
    _calls("F40", "a call as the last container goes", "scale_to_zero", "it is answered"),
    _calls("F42", "a call cancelled", "cancelled"),
    _calls("F43", "a timeout as the function returns", "timeout_at_completion", "one outcome"),
    _calls(
        "F44", "a hundred inputs that fail and are retried", "retry_storm", "each ends with what it raised"
    ),
    Fault(
        number="F45",
        what="a second server",
        holds="it finds the lock taken",
        inject=partial(_second, role="server"),
        proof="its exit status",
        breaks=False,
    ),
    Fault(
        number="F45a",
        what="a second agent",
        holds="it finds the lock taken",
        inject=partial(_second, role="agent"),
        proof="its exit status",
        breaks=False,
    ),
    *CLIENTS_FAULTS,
)
