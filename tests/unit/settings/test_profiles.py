"""Profiles: kept for their user alone, and the one that is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from squall.model.errors import InvalidError, NotFoundError
from squall.settings.profiles import (
    Profile,
    Profiles,
    chosen_profile,
    profiles_file,
    read_profiles,
    write_profiles,
)

WORK = Profile(name="work", server="gpu-head:7443", token="to-1.secret", trust="own")
HOME = Profile(name="home", server="unix:/run/squall.sock")


def test_profiles_are_read_as_they_were_written_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "squall" / "profiles.json"
    kept = Profiles().having(WORK).having(HOME)
    write_profiles(path, kept)
    assert read_profiles(path) == kept
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    assert "secret" not in repr(kept)


def test_the_first_profile_is_the_active_one_until_another_is_chosen() -> None:
    kept = Profiles().having(WORK).having(HOME)
    assert kept.active == "work"
    assert kept.using("home").active == "home"
    assert kept.using("").active == ""
    assert kept.without("work").active == ""
    assert kept.without("home").active == "work"
    assert kept.having(Profile(name="work", server="b:1")).find("work").server == "b:1"
    for change in (kept.using, kept.without, kept.find):
        with pytest.raises(NotFoundError, match="home, work"):
            change("other")


def test_a_variable_chooses_before_the_active_one(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert chosen_profile(environ) is None
    write_profiles(profiles_file(environ), Profiles().having(WORK).having(HOME))
    assert chosen_profile(environ) == WORK
    assert chosen_profile({**environ, "SQUALL_PROFILE": "home"}) == HOME
    with pytest.raises(NotFoundError):
        chosen_profile({**environ, "SQUALL_PROFILE": "other"})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"profiles": {"a": {}}}', '{"profiles": 1}', "\xff"])
def test_a_file_that_holds_none_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profiles.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InvalidError, match=r"profiles\.json"):
        read_profiles(path)
