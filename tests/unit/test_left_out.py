"""What a run may leave out."""

from pathlib import Path

import pytest

from tests import machine
from tests.left_out import Expected, Profile, Skip, profile_of, read_profiles, table, unexpected

USER = Profile(
    name="user",
    describes="",
    machine={"root": False},
    left_out=(Expected(reason="needs root", tests=("tests/linux/*",)),),
)


def test_a_skip_that_the_profile_lists_is_expected() -> None:
    assert (
        unexpected([Skip(test="tests/linux/test_a.py::test_b", reason="needs root: run as root")], USER) == []
    )


@pytest.mark.parametrize(
    "skip",
    [
        Skip(test="tests/unit/test_a.py::test_b", reason="needs root: run as root"),
        Skip(test="tests/linux/test_a.py::test_b", reason="flaky"),
    ],
)
def test_a_skip_elsewhere_or_for_another_reason_is_not(skip: Skip) -> None:
    assert unexpected([skip], USER) == [skip]


def test_the_table_counts_by_reason_and_place() -> None:
    remedies = {"root": "be root", "moon": "go there"}
    skips = [Skip(test=f"tests/linux/test_a.py::test_{n}", reason="needs root: be root") for n in range(3)]
    first, row, remedy = table(skips, remedies)
    assert first.split()[:2] == ["tests", "where"]
    assert row.split() == ["3", "tests/linux", "needs", "root"]
    assert remedy == "to have root: be root"


def test_every_mix_of_facts_has_a_profile() -> None:
    profiles = read_profiles()
    linux = {"linux": True, "network": True}
    for number in range(16):
        names = ("root", "namespaces", "cgroups", "subordinate_ids")
        facts = linux | {name: bool(number >> bit & 1) for bit, name in enumerate(names)}
        assert profile_of(facts, profiles)


def test_profiles_speak_of_known_facts_only() -> None:
    for profile in read_profiles():
        assert set(profile.machine) <= set(machine.REMEDIES), profile.name


def test_a_machine_without_a_profile_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="no profile"):
        profile_of({"linux": True}, read_profiles(tmp_path))
