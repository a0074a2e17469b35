"""The supervisor's decisions: from what is wanted, what is seen and the hour to the next steps."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import assert_never

FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 5.0
HEALTHY_AFTER_S = 10.0
# A server that falls this often in a row is given up: the next client that needs one tries anew.
HOPELESS_AFTER = 10


class Aim(Enum):
    """What the supervisor is for, from now on; a later one in this list is never taken back."""

    KEEP = "keep both running"
    LEAVE = "stop both, and leave the containers to whoever comes next"
    DOWN = "stop the containers, then the agent, then the server"


class Signal(Enum):
    """What a process is told; at STOP_ALL, and only then, the agent ends its containers and the server its apps."""

    STOP = "stop"
    STOP_ALL = "stop_all"
    KILL = "kill"


class Ending(Enum):
    """How a process ended: in good order, by a fault, beaten to its lock, or with no hope of a better try."""

    ENDED = "ended"
    FELL = "fell"
    TAKEN = "taken"
    HOPELESS = "hopeless"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Not running; to be started at not_before_s."""

    not_before_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Running since since_s; told the last signal at told_at_s."""

    since_s: float
    told: Signal | None = None
    told_at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """Not running, and never to be started again by this supervisor."""

    how: Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """Not one of this house: a machine that joined another's server has none of its own, and some run no containers."""


State = Waiting | Running | Gone | Absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One process under supervision. failures: how often in a row it fell before it was healthy."""

    state: State = Waiting()
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """All that the supervisor knows. grace_s: how long a process told to stop may take before it is killed."""

    server: Member = Member()
    agent: Member = Member()
    aim: Aim = Aim.KEEP
    grace_s: float = 10.0
    swept: bool = False  # what an agent left behind has been ended

    def member(self, name: str) -> Member:
        return self.server if name == "server" else self.agent

    def with_member(self, name: str, member: Member) -> "House":
        return replace(self, server=member) if name == "server" else replace(self, agent=member)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    name: str
    signal: Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """End the launchers that no agent answers for any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """Nothing is left to supervise. code: the supervisor's own exit status."""

    code: int


Step = Start | Tell | Sweep | Finish


def plan(house: House, now_s: float) -> tuple[Step, ...]:
    """The steps to take now; none where there is only waiting, until `wake_at` or until something happens."""
    aim = effective_aim(house)
    match aim:
        case Aim.KEEP:
            return _keep(house, now_s)
        case Aim.LEAVE:
            steps = (
                *_stop("server", house, Signal.STOP, now_s),
                *_stop("agent", house, Signal.STOP, now_s),
            )
        case Aim.DOWN:
            # The agent first: it ends its containers while the server can still hear how they ended.
            steps = _stop("agent", house, Signal.STOP_ALL, now_s)
            if not isinstance(house.agent.state, Running):
                steps = _stop("server", house, Signal.STOP_ALL, now_s)
        case _:
            assert_never(aim)
    if steps or _any_running(house):
        return steps
    if aim is Aim.DOWN and not house.swept:
        return (Sweep(),)
    return (Finish(code=1 if _hopeless(house) else 0),)


def effective_aim(house: House) -> Aim:
    """What is aimed at, seeing how the processes ended: a server that ended in good order ends the house."""
    if house.aim is Aim.KEEP:
        match house.server.state:
            case Gone(how=Ending.ENDED):
                return Aim.DOWN
            case Gone():
                return Aim.LEAVE
        if isinstance(house.agent.state, Gone):
            return Aim.LEAVE
    return house.aim


def wake_at(house: House, now_s: float) -> float | None:
    """When to plan again if nothing happens before; None: only an event can change anything."""
    moments: list[float] = []
    for member in (house.server, house.agent):
        match member.state:
            case Waiting(not_before_s=moment) if effective_aim(house) is Aim.KEEP:
                moments.append(moment)
            case Running(told=Signal.STOP | Signal.STOP_ALL, told_at_s=told_at_s):
                moments.append(told_at_s + house.grace_s)
    future = [moment for moment in moments if moment > now_s]
    return min(future, default=None)


def started(member: Member, now_s: float) -> Member:
    """`member` once it runs, started or adopted."""
    return replace(member, state=Running(since_s=now_s))


def told(member: Member, signal: Signal, now_s: float) -> Member:
    """`member` once it was told `signal`."""
    if not isinstance(member.state, Running):
        return member
    return replace(member, state=replace(member.state, told=signal, told_at_s=now_s))


def ended(member: Member, how: Ending, now_s: float) -> Member:
    """`member` once its process has ended: gone for good, or to be started again after a while.

    One that was beaten to its lock is tried again like one that fell: the holder was adopted first if it was
    still there. Having run for HEALTHY_AFTER_S forgives what went before.
    """
    since_s = member.state.since_s if isinstance(member.state, Running) else now_s
    failures = 0 if now_s - since_s >= HEALTHY_AFTER_S else member.failures
    match how:
        case Ending.ENDED | Ending.HOPELESS:
            return Member(state=Gone(how=how), failures=failures)
        case Ending.FELL | Ending.TAKEN:
            return Member(state=Waiting(not_before_s=now_s + delay_s(failures)), failures=failures + 1)
        case _:
            assert_never(how)


def after_end(house: House, name: str, how: Ending, now_s: float) -> House:
    """`house` once the process `name` has ended. Only the server's word ends the house: an agent that ends
    in good order by itself is started again like one that fell. A server that keeps falling is given up.
    """
    if name == "agent" and how is Ending.ENDED and effective_aim(house) is Aim.KEEP:
        how = Ending.FELL
    after = ended(house.member(name), how, now_s)
    if name == "server" and after.failures >= HOPELESS_AFTER:
        after = ended(house.member(name), Ending.HOPELESS, now_s)
    return house.with_member(name, after)


def delay_s(failures: int) -> float:
    """Seconds before the next start after `failures` earlier ones in a row: 0.05, 0.1, 0.2, ... 5."""
    return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures, 16))


def _keep(house: House, now_s: float) -> tuple[Step, ...]:
    return tuple(
        Start(name=name)
        for name in ("server", "agent")
        if isinstance(state := house.member(name).state, Waiting) and state.not_before_s <= now_s
    )


def _stop(name: str, house: House, signal: Signal, now_s: float) -> tuple[Step, ...]:
    """What brings one process to its end: the signal once, and the kill when its grace is over."""
    state = house.member(name).state
    if not isinstance(state, Running):
        return ()
    match state.told:
        case None:
            return (Tell(name=name, signal=signal),)
        case Signal.STOP if signal is Signal.STOP_ALL:
            return (Tell(name=name, signal=signal),)
        case Signal.STOP | Signal.STOP_ALL if now_s >= state.told_at_s + house.grace_s:
            return (Tell(name=name, signal=Signal.KILL),)
        case _:
            return ()


def _any_running(house: House) -> bool:
    return any(isinstance(member.state, Running) for member in (house.server, house.agent))


def _hopeless(house: House) -> bool:
    return any(
        isinstance(member.state, Gone) and member.state.how is Ending.HOPELESS
        for member in (house.server, house.agent)
    )
