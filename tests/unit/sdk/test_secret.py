from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import squall
from squall.context import current
from squall.model.errors import InvalidError
from squall.model.jsonable import from_json, to_json
from squall.model.secret import LONGEST, SecretUse
from squall.sdk.secret import Secret, checked_secrets, travelling, uses_of, values_of

VALUE = "the-value-itself"


def test_a_secret_tells_its_names_and_gives_its_values_where_they_are_asked_for() -> None:
    secret = Secret.from_dict({"B": VALUE, "A": ""})
    assert secret.names == ("A", "B")
    assert values_of([secret]) == {"A": "", "B": VALUE}
    assert values_of([secret, Secret.from_dict({"B": "later"})])["B"] == "later"


@dataclass
class Holder:
    secret: Secret = field(default_factory=lambda: Secret.from_dict({"A": VALUE}))


@pytest.mark.parametrize(
    "shown",
    [
        repr,
        str,
        "{}".format,
        lambda secret: f"{secret!a}",
        lambda secret: repr([secret, {"s": secret}]),
        lambda secret: repr(Holder(secret)),
        lambda secret: str(dir(secret)),
        lambda secret: str(pickle.dumps(secret)),
        lambda secret: str(cloudpickle.dumps(lambda: secret)),
        lambda secret: str(copy.copy(secret)),
        lambda secret: logging.makeLogRecord({"msg": "%s", "args": (secret,)}).getMessage(),
    ],
)
def test_no_value_is_shown_or_travels_in_the_clear(shown: Callable[[Any], str]) -> None:
    assert VALUE not in shown(Secret.from_dict({"A": VALUE}))


def test_a_secret_that_travelled_is_its_names() -> None:
    secret = Secret.from_dict({"A": VALUE})
    there = pickle.loads(pickle.dumps(secret))
    assert there.names == ("A",)
    with pytest.raises(InvalidError, match="the secret A is not here"):
        values_of([there])
    assert copy.deepcopy(secret) is secret


@pytest.mark.parametrize(
    "variables",
    [
        {"A=B": VALUE},
        {"": VALUE},
        {"1A": VALUE},
        {"A\n": VALUE},
        {7: VALUE},
        {"SQUALL_STATE_DIR": VALUE},
        {"A": VALUE + "\0"},
        {"A": 7},
        {"A": VALUE.encode()},
        {"A": VALUE + "x" * LONGEST},
        [("A", VALUE)],
    ],
)
def test_what_no_environment_can_hold_is_refused_and_not_shown(variables: Any) -> None:
    with pytest.raises(InvalidError) as raised:
        Secret.from_dict(variables)
    assert VALUE not in f"{raised.value} {raised.value.remedy}"


def test_variables_of_the_environment_are_taken_where_the_program_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SQ_TEST_TOKEN", VALUE)
    monkeypatch.delenv("SQ_TEST_NOTHING", raising=False)
    assert values_of([Secret.from_local_environ(["SQ_TEST_TOKEN"])]) == {"SQ_TEST_TOKEN": VALUE}
    with pytest.raises(InvalidError, match="SQ_TEST_NOTHING is not set here"):
        Secret.from_local_environ(["SQ_TEST_NOTHING"])
    with pytest.raises(InvalidError, match="a list of names"):
        Secret.from_local_environ("SQ_TEST_TOKEN")
    with pytest.raises(InvalidError):
        Secret.from_local_environ([7])  # type: ignore[list-item]  # on purpose


def test_in_a_container_a_secret_of_the_environment_is_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "container", current.Container(id="co-1", function="f", app="a", link=None))
    assert Secret.from_local_environ(["SQ_TEST_NOTHING"]).names == ("SQ_TEST_NOTHING",)
    # `Secret.from_dict({"A": os.environ.get("A")})`, which is loaded in a container too.
    assert Secret.from_dict({"A": None}).names == ("A",)


def test_a_secret_is_made_of_something_and_never_changes() -> None:
    with pytest.raises(InvalidError, match="made of something"):
        Secret()
    variables: dict[str, str | None] = {"A": "1"}
    secret = Secret.from_dict(variables)
    variables["A"] = "2"
    assert values_of([secret]) == {"A": "1"}
    with pytest.raises(AttributeError):
        secret.more = 1  # type: ignore[attr-defined]  # on purpose


@pytest.mark.parametrize("given", [VALUE, {"A": VALUE}, [VALUE], 7, Secret.from_dict({"A": "1"})])
def test_only_secrets_are_given_to_a_step(given: Any) -> None:
    with pytest.raises(InvalidError) as raised:
        checked_secrets("Image.x", given)
    assert VALUE not in f"{raised.value} {raised.value.remedy}"
    assert checked_secrets("Image.x", None) == ()


def test_one_with_a_name_travels_as_its_name() -> None:
    secret = Secret.from_name("database", ["PASSWORD"], environment_name="dev")
    assert repr(secret) == "Secret('database')"
    use = SecretUse(name="database", environment="dev", required=("PASSWORD",))
    for one in (secret, pickle.loads(pickle.dumps(secret)), copy.deepcopy(secret)):
        assert uses_of([one]) == (use,)
        assert travelling([one]) == {}
    with pytest.raises(InvalidError, match="are with the server"):
        values_of([secret])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Secret.from_name("no name"),
        lambda: Secret.from_name("database", "PASSWORD"),
        lambda: Secret.from_name("database", ["1A"]),
        lambda: Secret.from_name("database", environment_name="no name"),
        lambda: Secret.from_dict({"A": VALUE}).update,
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidError) as refused:
        make()
    assert VALUE not in str(refused.value)


def test_what_a_function_says_of_its_secrets_has_no_value() -> None:
    app = squall.App("shop", secrets=[Secret.from_name("all")])

    @app.function(secrets=[Secret.from_dict({"A": VALUE}), Secret.from_name("own", ["B"])])
    def sells() -> None:
        """Nothing."""

    spec = sells.spec
    assert [(use.name, bool(use.key), use.variables) for use in spec.secrets] == [
        ("all", False, ()),
        ("", True, ("A",)),
        ("own", False, ()),
    ]
    assert VALUE not in json.dumps(to_json(spec))
    assert VALUE not in repr(sells.declared)
    assert travelling(sells.declared.secrets) == {spec.secrets[1].key: {"A": VALUE}}
    assert from_json(type(spec), to_json(spec)).secrets == spec.secrets
    other = sells.with_options(secrets=[Secret.from_name("else")])
    assert [use.name for use in other.spec.secrets] == ["else"]
    with pytest.raises(InvalidError, match="takes secrets that have a name"):
        sells.with_options(secrets=[Secret.from_dict({"A": VALUE})])
    with pytest.raises(InvalidError, match="holds a str"):
        app.function(secrets=[VALUE])  # type: ignore[list-item]  # on purpose
    with pytest.raises(InvalidError, match="is a list of secrets"):
        squall.App(secrets=Secret.from_name("all"))  # type: ignore[arg-type]  # on purpose


def test_a_value_that_is_not_here_does_not_travel() -> None:
    with pytest.raises(InvalidError, match="the value of the secret A is not here"):
        travelling([Secret.from_dict({"A": None})])


def test_a_file_is_read_where_the_program_is_started_and_not_in_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"A={VALUE}\nexport B='two words'  # a comment\n")
    secret = Secret.from_dotenv(tmp_path)
    assert values_of([secret]) == {"A": VALUE, "B": "two words"}
    monkeypatch.chdir(tmp_path)
    assert Secret.from_dotenv().names == ("A", "B")
    with pytest.raises(InvalidError, match="there is no file"):
        Secret.from_dotenv(tmp_path, filename="other")
    monkeypatch.setattr(current, "container", current.Container("co-1", "f", "ap-1", None))
    assert uses_of([Secret.from_dotenv(tmp_path, filename="other")]) == ()
