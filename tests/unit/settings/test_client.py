"""Which server a client means."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from squall.model.access import make_token
from squall.model.errors import InvalidError, MachineJoined
from squall.model.ids import TOKEN, TokenId, make_id
from squall.settings.client import RemoteServer, named_server, read_server, refuse_joined
from squall.settings.joined import Joined, write_joined
from squall.settings.paths import open_state
from squall.settings.profiles import Profile, Profiles, profiles_file, write_profiles

TOKEN_ = make_token(TokenId(make_id(TOKEN, now_ms=1, randomness=bytes(10))), bytes(32), "a" * 64)


@pytest.mark.parametrize("value", ["/a/server.sock", "unix:/a/server.sock", "unix:///a/server.sock"])
def test_a_socket_is_named_by_its_path(value: str) -> None:
    assert named_server({"SQUALL_SERVER": value}) == Path("/a/server.sock")


def test_without_a_name_it_is_this_machines_own(tmp_path: Path) -> None:
    empty = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert named_server(empty) is None
    assert named_server({**empty, "SQUALL_SERVER": " "}) is None
    write_profiles(profiles_file(empty), Profiles().having(Profile(name="w", server="h:1")))
    assert named_server({**empty, "SQUALL_SERVER": "local"}) is None


@pytest.mark.parametrize(
    ("value", "host", "port", "url"),
    [
        ("gpu-head:7443", "gpu-head", 7443, ""),
        ("squall://10.0.0.1:1", "10.0.0.1", 1, ""),
        ("squall://gpu-head", "gpu-head", 7443, ""),
        ("[::1]:2", "::1", 2, ""),
        ("wss://squall.example/app", "squall.example", 443, "wss://squall.example/app"),
        ("ws://127.0.0.1:7443", "127.0.0.1", 7443, "ws://127.0.0.1:7443"),
        ("wss://squall.example:8443", "squall.example", 8443, "wss://squall.example:8443"),
    ],
)
def test_another_machine_is_named_by_its_address(value: str, host: str, port: int, url: str) -> None:
    found = named_server({"SQUALL_SERVER": value, "SQUALL_TOKEN": str(TOKEN_)})
    assert found == RemoteServer(host=host, port=port, url=url, token=TOKEN_)
    assert TOKEN_.secret not in repr(found)
    assert TOKEN_.secret not in str(found)


def test_a_profile_is_meant_where_no_server_is_named(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    work = Profile(name="work", server="gpu-head:1", token=str(TOKEN_), trust="system")
    write_profiles(profiles_file(environ), Profiles().having(work))
    found = named_server(environ)
    assert found == RemoteServer(
        host="gpu-head", port=1, token=TOKEN_, system_trust=True, from_profile="work"
    )
    assert named_server({**environ, "SQUALL_SERVER": "other:2"}) == RemoteServer(host="other", port=2)


@pytest.mark.parametrize(
    "value",
    [
        "host",
        "unix:relative",
        "a/b",
        "tcp://host:1",
        "https://host",
        "host:port",
        "squall://h:1/path",
        ":1",
        "ws://gpu-head:7443",
    ],
)
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(InvalidError, match="cannot be used"):
        named_server({"SQUALL_SERVER": value})


def test_a_trust_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidError, match="own"):
        read_server("h:1", trust="everybody")


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(InvalidError):
        found = read_server(text)
        assert isinstance(found, Path) or found.host


def test_a_machine_that_joined_another_has_no_server_of_its_own(tmp_path: Path) -> None:
    paths = open_state(tmp_path / "state")
    refuse_joined(paths)
    write_joined(paths, Joined(server="gpu-head:7443", node="no-1"))
    with pytest.raises(MachineJoined, match="gpu-head:7443"):
        refuse_joined(paths)
