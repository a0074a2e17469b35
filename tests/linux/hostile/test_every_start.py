"""The catalogue of what hostile code tries, in every way in which a container begins, against what is expected there."""

from __future__ import annotations

import pytest

from squall.sdk.watch import describe_note
from tests.linux.hostile.catalogue import CATALOGUE
from tests.linux.hostile.judge import escapes, lacking, reached, repeated, unproven
from tests.linux.hostile.probe import NotStopped, OnHost, Probe, Stopped
from tests.linux.hostile.scene import Played
from tests.linux.runtime.box import UID_BASE, user_of

each_probe = pytest.mark.parametrize("probe", [pytest.param(probe, id=probe.id) for probe in CATALOGUE])


@each_probe
def test_what_is_tried_meets_what_is_expected_at_this_level(played: Played, probe: Probe) -> None:
    match probe.at(played.start.level):
        case Stopped() if probe.differs:
            assert not repeated(played.first[probe.code], played.second[probe.code])
        case Stopped():
            for met in (played.first, played.second):
                assert not escapes(probe, met[probe.code], place=played.start.place)
        case NotStopped(says=says):
            got = reached(probe, played.second[probe.code])
            print(f"{probe.id} is not stopped: {', '.join(got) or 'only by the rights of an ordinary user'}")
            assert says in describe_note("process")
            assert got or played.start.kind != "root", "the level stops it: say so in the catalogue"
        case OnHost():
            print(f"{probe.id} met {played.second[probe.code]}")
            assert played.after == played.before


def test_the_host_is_as_it_was(played: Played) -> None:
    if played.start.isolated:
        assert played.after == played.before


def test_its_root_is_no_user_of_the_host_but_its_own(played: Played) -> None:
    if played.start.isolated and played.start.place != "loading":
        own = UID_BASE if played.start.kind == "root" else user_of(played.start.kind)
        # gVisor's own process is one of the container's other users, where there are any.
        most = 2**16 if played.start.level == "gvisor" and played.start.kind == "root" else 1
        assert own <= played.root_on_host < own + most


@pytest.mark.needs("root", "namespaces")
@each_probe
def test_without_a_sandbox_the_same_attempts_get_what_they_want(outside: Played, probe: Probe) -> None:
    """The positive control: an attempt that could not succeed there either would prove nothing."""
    if probe.differs:
        assert repeated(outside.first[probe.code], outside.second[probe.code])
        return
    met = outside.second[probe.code]
    if missing := lacking(probe, met):
        print(f"{probe.id}: this kernel has nothing to refuse for {', '.join(missing)}")
    assert not unproven(probe, met)


@pytest.mark.needs("root", "namespaces")
@each_probe
def test_what_is_tried_outside_is_tried_inside_too(played: Played, outside: Played, probe: Probe) -> None:
    tried = set(played.first[probe.code])
    # A kernel of its own may end the container for an attempt, or never answer it: then it says no more.
    cut_short = played.start.level == "gvisor" and tried in ({"everything"}, {"broken"})
    # Descriptors are named by their numbers, and outside there is one more.
    if probe.code != "self.descriptors" and not cut_short:
        assert set(outside.first[probe.code]) <= tried
