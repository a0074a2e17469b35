"""Options: from the file, from the environment, within their bounds."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from squall.model.errors import InvalidError
from squall.settings.options import Options, describe, networks_in, read_options


def test_defaults_hold_where_nothing_is_set(tmp_path: Path) -> None:
    assert read_options(tmp_path / "config.toml", {}) == Options()
    assert Options().idle_s == 600.0


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("idle_s = 5\nlost_retries = 2\n")
    options = read_options(config, {"SQUALL_IDLE_S": "7.5"})
    assert (options.idle_s, options.lost_retries) == (7.5, 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("idle = 5", "did you mean 'idle_s'"),
        ("colour = 5", "no option 'colour'"),
        ("idle_s = 'long'", "must be a number"),
        ("idle_s = true", "must be a number"),
        ("lost_retries = 1.5", "must be a whole number"),
        ("idle_s = -1", "must be from 0.0"),
        ("idle_s = nan", "must be from 0.0"),
        ("heartbeat_s = 20.0", "must be above"),
        ("idle_s = ", "cannot be read"),
        ("network_range = 5", "must be text"),
        ("network_range = '10.0.0.0/16,10.1.0.0/16'", "at most 1"),
        ("network_range = '10.0.0.0/30'", "from /8 to /24"),
        ("network_deny = 'the office'", "networks of IPv4"),
        ("network_deny = '10.0.0.1/8'", "host bits"),
        ("database = 5", "must be text"),
        ("database = 'mysql://db/squall'", "does not begin with"),
        ("database = 'postgresql://db'", "names no database"),
        ("database_password_file = 'beside'", "absolute path"),
        ("sqlite_synchronous = 'off'", "must be one of normal, full"),
    ],
)
def test_what_the_file_says_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    with pytest.raises(InvalidError, match=says):
        read_options(config, {})


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("SQUALL_IDLE", "5", "did you mean 'SQUALL_IDLE_S'"),
        ("SQUALL_IDLE_S", "soon", "must be a number"),
        ("SQUALL_LOST_RETRIES", "1e3", "must be a whole number"),
        ("SQUALL_LOST_RETRIES", "1000", "must be from 0 to 100"),
    ],
)
def test_what_the_environment_says_wrong_is_named(variable: str, value: str, says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        read_options(None, {variable: value})


def test_networks_are_text_with_commas_between_them() -> None:
    options = read_options(None, {"SQUALL_NETWORK_DENY": "10.0.0.0/8, 192.168.0.0/16,"})
    assert networks_in(options.network_deny) == ("10.0.0.0/8", "192.168.0.0/16")
    assert networks_in(Options().network_range) == ()


def test_variables_about_something_else_are_left_alone() -> None:
    assert read_options(None, {"SQUALL_STATE_DIR": "/x", "SQUALL_SERVER": "y", "SQUALLS": "z"}) == Options()


@given(name=st.text(max_size=12))
def test_no_name_of_a_variable_is_more_than_an_invalid_one(name: str) -> None:
    with contextlib.suppress(InvalidError):
        assert isinstance(read_options(None, {f"SQUALL_{name}": "1"}), Options)


def test_every_option_says_what_it_means_and_its_default_is_within_its_bounds() -> None:
    for option in describe():
        if not isinstance(option["default"], str):
            assert option["least"] <= option["default"] <= option["most"], option["name"]
        assert option["means"]


def test_a_password_in_the_address_of_the_database_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidError, match="holds a password") as caught:
        read_options(None, {"SQUALL_DATABASE": "postgresql://squall:hunter2@db/squall"})
    assert "hunter2" not in f"{caught.value}{caught.value.remedy}"


def test_the_record_is_kept_where_the_owner_says() -> None:
    options = read_options(
        None, {"SQUALL_DATABASE": "postgresql://squall@db/squall", "SQUALL_SQLITE_SYNCHRONOUS": "normal"}
    )
    assert (options.database, options.sqlite_synchronous) == ("postgresql://squall@db/squall", "normal")
    assert (Options().database, Options().sqlite_synchronous) == ("", "full")
