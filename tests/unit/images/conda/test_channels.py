from __future__ import annotations

import json

import pytest

from squall.images.conda.channels import (
    ALIAS,
    addresses,
    checked_alias,
    hide,
    logins,
    place_of,
    split_channel,
    without_credentials,
)
from squall.images.redact import Hidden
from squall.model.errors import InvalidError


@pytest.mark.parametrize(
    ("channels", "found"),
    [
        (["conda-forge"], [f"{ALIAS}/conda-forge"]),
        (["conda-forge", "bioconda", "conda-forge"], [f"{ALIAS}/conda-forge", f"{ALIAS}/bioconda"]),
        (["conda-forge/label/rc"], [f"{ALIAS}/conda-forge/label/rc"]),
        (["https://host.example/it/"], ["https://host.example/it"]),
        (["a", "nodefaults"], [f"{ALIAS}/a"]),
        (["defaults"], [f"{ALIAS}/main", f"{ALIAS}/r"]),
        ([], []),
    ],
)
def test_a_channel_is_an_address_or_a_name_below_the_alias(channels: list[str], found: list[str]) -> None:
    assert list(addresses(channels)) == found
    assert [one.replace(ALIAS, "http://mirror/conda") for one in found] == list(
        addresses(channels, checked_alias("http://mirror/conda/"))
    )


@pytest.mark.parametrize(
    "channel", ["", "a b", "../x", "/srv/channel", "file:///srv", "~/x", "ftp://host/x", "a::b"]
)
def test_what_is_no_channel_or_on_this_machine_is_refused(channel: str) -> None:
    with pytest.raises(InvalidError) as refused:
        addresses([channel])
    assert refused.value.remedy


@pytest.mark.parametrize("alias", ["conda-forge", "/srv", "ftp://host", "https://"])
def test_an_alias_is_an_address(alias: str) -> None:
    with pytest.raises(InvalidError, match="CONDA_CHANNEL_ALIAS"):
        checked_alias(alias)


def test_credentials_of_every_kind_are_put_away_and_come_apart_again() -> None:
    hidden = Hidden("P")
    user = hide("https://ada:p%40ss@host.example/it", hidden)
    token = hide("https://other.example/t/to-ken/it", hidden)
    assert set(hidden.secrets.values()) == {"ada:p%40ss", "to-ken"}
    assert "p%40ss" not in user
    assert "to-ken" not in token
    assert (hide(user, hidden), hide(token, hidden)) == (user, token)
    found = [place_of(one, hidden.secrets) for one in (user, token, "http://open.example:80/it")]
    assert [(one.address, one.host) for one in found] == [
        ("https://host.example/it", "host.example"),
        ("https://other.example/it", "other.example"),
        ("http://open.example:80/it", "open.example"),
    ]
    assert json.loads(logins(found)) == {
        "host.example": {"BasicHTTP": {"username": "ada", "password": "p@ss"}},
        "other.example": {"CondaToken": "to-ken"},
    }


def test_a_host_has_one_login_which_may_be_said_twice() -> None:
    one, same, other = (place_of(f"https://{word}@host/{word}", {}) for word in ("a:b", "a:b", "c:d"))
    assert logins([one, same]) == logins([one])
    with pytest.raises(ValueError, match="two logins"):
        logins([one, other])


def test_what_people_see_of_an_address_has_no_credentials() -> None:
    assert without_credentials("https://ada:pw@host/t/to-ken/it") == "https://host/t/****/it"
    assert without_credentials("conda-forge::numpy") == "conda-forge::numpy"


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("numpy", ("", "numpy")),
        ("conda-forge::numpy >=2", ("conda-forge", "numpy >=2")),
        ("https://host/it::numpy", ("https://host/it", "numpy")),
    ],
)
def test_a_spec_may_name_its_channel(spec: str, parts: tuple[str, str]) -> None:
    assert split_channel(spec) == parts
