"""Which server a client means."""

from pathlib import Path

import pytest

from squall.model.errors import FeatureUnavailable, InvalidError
from squall.settings.client import named_server


@pytest.mark.parametrize("value", ["/a/server.sock", "unix:/a/server.sock", "unix:///a/server.sock"])
def test_a_socket_is_named_by_its_path(value: str) -> None:
    assert named_server({"SQUALL_SERVER": value}) == Path("/a/server.sock")


def test_without_a_name_it_is_this_machines_own() -> None:
    assert named_server({}) is None
    assert named_server({"SQUALL_SERVER": " "}) is None


@pytest.mark.parametrize("value", ["tcp://host:1", "https://host", "host:4242"])
def test_a_network_address_says_what_to_do_instead(value: str) -> None:
    with pytest.raises(FeatureUnavailable) as refused:
        named_server({"SQUALL_SERVER": value})
    assert "ssh -L" in refused.value.remedy


@pytest.mark.parametrize("value", ["host", "unix:relative", "a/b"])
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(InvalidError):
        named_server({"SQUALL_SERVER": value})
