"""Whatever happens to the processes, the supervisor's plan starts what is wanted, and ends when it is told."""

from dataclasses import replace

from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from squall.supervisor.plan import (
    FIRST_DELAY_S,
    HOPELESS_AFTER,
    LONGEST_DELAY_S,
    Absent,
    Aim,
    Ending,
    Finish,
    Gone,
    House,
    Member,
    Running,
    Signal,
    Start,
    Step,
    Sweep,
    Tell,
    Waiting,
    after_end,
    delay_s,
    effective_aim,
    ended,
    plan,
    started,
    told,
    wake_at,
)

NAMES = st.sampled_from(["server", "agent"])
AIMS = list(Aim)
moments = st.floats(min_value=0.0, max_value=1e6)
states = st.one_of(
    st.builds(Waiting, not_before_s=moments),
    st.builds(Running, since_s=moments, told=st.sampled_from([None, *Signal]), told_at_s=moments),
    st.builds(Gone, how=st.sampled_from([Ending.ENDED, Ending.HOPELESS])),
)
members = st.builds(Member, state=states, failures=st.integers(0, 100))
houses = st.builds(
    House, server=members, agent=members, aim=st.sampled_from(AIMS), grace_s=moments, swept=st.booleans()
)


@given(agent=members, aim=st.sampled_from(AIMS), now_s=moments)
def test_a_house_without_a_server_keeps_its_agent_and_ends_with_it(
    agent: Member, aim: Aim, now_s: float
) -> None:
    house = House(server=Member(state=Absent()), agent=agent, aim=aim, grace_s=1.0)
    steps = plan(house, now_s)
    assert not any(isinstance(step, Start | Tell) and step.name == "server" for step in steps)
    if isinstance(agent.state, Waiting) and agent.state.not_before_s <= now_s and aim is Aim.KEEP:
        assert steps == (Start(name="agent"),)
    if aim is not Aim.KEEP and not isinstance(agent.state, Running):
        assert any(isinstance(step, Finish | Sweep) for step in steps)


@given(server=members, aim=st.sampled_from(AIMS), now_s=moments)
def test_a_house_without_an_agent_keeps_its_server_and_ends_with_it(
    server: Member, aim: Aim, now_s: float
) -> None:
    house = House(server=server, agent=Member(state=Absent()), aim=aim, grace_s=1.0)
    steps = plan(house, now_s)
    assert not any(isinstance(step, Start | Tell) and step.name == "agent" for step in steps)
    if isinstance(server.state, Waiting) and server.state.not_before_s <= now_s and aim is Aim.KEEP:
        assert steps == (Start(name="server"),)
    if aim is not Aim.KEEP and not isinstance(server.state, Running):
        assert any(isinstance(step, Finish | Sweep) for step in steps)


@given(failures=st.integers(0, 10_000))
def test_delays_double_and_stay_within_their_bounds(failures: int) -> None:
    assert FIRST_DELAY_S <= delay_s(failures) <= delay_s(failures + 1) <= LONGEST_DELAY_S
    assert delay_s(0) == FIRST_DELAY_S


@given(house=houses, now_s=moments)
def test_only_what_runs_is_told_and_only_what_does_not_is_started(house: House, now_s: float) -> None:
    for step in plan(house, now_s):
        match step:
            case Start(name=name):
                assert isinstance(house.member(name).state, Waiting)
                assert effective_aim(house) is Aim.KEEP
            case Tell(name=name):
                assert isinstance(house.member(name).state, Running)
            case Finish():
                assert not any(isinstance(member.state, Running) for member in (house.server, house.agent))


@given(house=houses, now_s=moments)
def test_the_house_is_never_left_without_a_step_a_moment_or_a_process_to_wait_for(
    house: House, now_s: float
) -> None:
    if not plan(house, now_s) and wake_at(house, now_s) is None:
        assert any(isinstance(member.state, Running) for member in (house.server, house.agent))


@given(house=houses, now_s=moments)
def test_containers_are_ended_only_when_the_house_goes_down(house: House, now_s: float) -> None:
    if any(
        isinstance(step, Sweep) or step == Tell(name="agent", signal=Signal.STOP_ALL)
        for step in plan(house, now_s)
    ):
        assert effective_aim(house) is Aim.DOWN


@given(house=houses, now_s=moments)
def test_the_server_hears_the_agent_out_before_it_is_told_to_stop(house: House, now_s: float) -> None:
    tells = [step for step in plan(house, now_s) if isinstance(step, Tell)]
    if effective_aim(house) is Aim.DOWN and isinstance(house.agent.state, Running):
        assert all(step.name == "agent" for step in tells)


@given(member=members, now_s=moments)
def test_a_healthy_stretch_forgives_what_went_before(member: Member, now_s: float) -> None:
    after = ended(replace(member, state=Running(since_s=now_s)), Ending.FELL, now_s + 10.0)
    assert after == Member(state=Waiting(not_before_s=now_s + 10.0 + FIRST_DELAY_S), failures=1)


@given(house=houses, now_s=moments)
def test_an_agent_that_ends_by_itself_is_started_again_while_the_server_lives(
    house: House, now_s: float
) -> None:
    living = replace(
        house, server=Member(state=Running(since_s=now_s)), agent=Member(state=Running(since_s=now_s))
    )
    after = after_end(replace(living, aim=Aim.KEEP), "agent", Ending.ENDED, now_s)
    assert isinstance(after.agent.state, Waiting)


def test_a_server_that_keeps_falling_is_given_up_and_ends_the_house_with_a_fault() -> None:
    house, now_s = House(), 0.0
    for _ in range(HOPELESS_AFTER):
        house = house.with_member("server", started(house.server, now_s))
        house = after_end(house, "server", Ending.FELL, now_s)
        now_s = wake_at(house, now_s) or now_s
    assert plan(house, now_s) == (Finish(code=1),)


class HouseUnderFaults(RuleBasedStateMachine):
    """Processes end at any moment and in any way, aims change, time passes; the steps are carried out at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.house = House(grace_s=2.0)
        self.finished: int | None = None
        self.told_down = False
        self.stop_told_at_s: dict[str, float] = {}

    @initialize()
    def begin(self) -> None:
        self.settle()

    def settle(self) -> None:
        for _ in range(20):
            steps = plan(self.house, self.now_s) if self.finished is None else ()
            if not steps:
                return
            for step in steps:
                self.carry_out(step)
        raise AssertionError("a plan must come to rest")

    def carry_out(self, step: Step) -> None:
        match step:
            case Start(name=name):
                assert not isinstance(self.house.member(name).state, Running), "started twice"
                self.house = self.house.with_member(name, started(self.house.member(name), self.now_s))
                self.stop_told_at_s.pop(name, None)
            case Tell(name=name, signal=signal):
                if signal is Signal.KILL:
                    assert self.now_s - self.stop_told_at_s[name] >= self.house.grace_s, "killed too early"
                else:
                    self.stop_told_at_s[name] = self.now_s
                self.house = self.house.with_member(name, told(self.house.member(name), signal, self.now_s))
            case Sweep():
                self.house = replace(self.house, swept=True)
            case Finish(code=code):
                self.finished = code

    def running(self) -> list[str]:
        return [name for name in ("server", "agent") if isinstance(self.house.member(name).state, Running)]

    @precondition(lambda self: self.finished is None and self.running())
    @rule(data=st.data(), how=st.sampled_from(list(Ending)))
    def a_process_ends(self, data: st.DataObject, how: Ending) -> None:
        self.house = after_end(self.house, data.draw(st.sampled_from(self.running())), how, self.now_s)
        self.settle()

    @rule(seconds=st.floats(min_value=0.0, max_value=30.0))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.settle()

    @precondition(lambda self: self.finished is None)
    @rule(aim=st.sampled_from([Aim.LEAVE, Aim.DOWN]))
    def somebody_asks_it_to_stop(self, aim: Aim) -> None:
        if AIMS.index(aim) > AIMS.index(self.house.aim):
            self.house = replace(self.house, aim=aim)
        self.settle()

    @invariant()
    def what_is_wanted_runs_or_waits_for_its_moment(self) -> None:
        if self.finished is None and effective_aim(self.house) is Aim.KEEP:
            for member in (self.house.server, self.house.agent):
                match member.state:
                    case Waiting(not_before_s=moment):
                        assert self.now_s < moment <= self.now_s + LONGEST_DELAY_S
                    case Gone():
                        raise AssertionError("gone, and nobody said that the house may end")

    @invariant()
    def once_told_it_ends_by_itself(self) -> None:
        """From any moment on: if told to stop and nothing else happens but kills doing their work, it finishes."""
        house, now_s = self.house, self.now_s
        if self.finished is not None or effective_aim(house) is Aim.KEEP:
            return
        for _ in range(20):
            for step in plan(house, now_s):
                match step:
                    case Finish():
                        return
                    case Sweep():
                        house = replace(house, swept=True)
                    case Tell(name=name, signal=Signal.KILL):
                        house = after_end(house, name, Ending.FELL, now_s)
                    case Tell(name=name, signal=signal):
                        house = house.with_member(name, told(house.member(name), signal, now_s))
            next_s = wake_at(house, now_s)
            if next_s is None:
                killed = [
                    name
                    for name in ("server", "agent")
                    if isinstance(state := house.member(name).state, Running) and state.told is Signal.KILL
                ]
                for name in killed:
                    house = after_end(house, name, Ending.FELL, now_s)
            now_s = next_s if next_s is not None else now_s
        raise AssertionError("it never finished")


TestHouseUnderFaults = HouseUnderFaults.TestCase
