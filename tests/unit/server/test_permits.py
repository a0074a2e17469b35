"""Who may ask a server for what: every message that there is, for everybody who may come."""

from __future__ import annotations

import pytest

from squall.model.access import Scope
from squall.model.errors import AuthError, Error, PermissionDeniedError, ScopeMissing
from squall.model.ids import NodeId, TokenId
from squall.server.api import HANDLERS
from squall.server.permits import FROM_CONTAINERS, OWNER, Caller, CallerKind, needed_scope, refusal

NOBODY = Caller(CallerKind.NOBODY)
MACHINE = Caller(CallerKind.NODE, node=NodeId("no-1"))
OPEN = {"hello", "echo", "authority", "enroll"}
A_MACHINES = {
    *("join", "node.renew", "blob.get", "blobs.missing", "image.record"),
    *("blob.put", "volume.head", "volume.commit", "bucket.keys"),
}


def holder(*scopes: Scope) -> Caller:
    return Caller(CallerKind.TOKEN, frozenset(scopes), token=TokenId("to-1"))


def refused(caller: Caller, name: str, *, routed: bool = False) -> Error | None:
    return refusal(caller, name, routed=routed, known=HANDLERS.keys())


@pytest.mark.parametrize("name", sorted(HANDLERS))
def test_whoever_has_not_said_who_it_is_may_only_say_so(name: str) -> None:
    found = refused(NOBODY, name)
    assert (found is None) == (name in OPEN)
    assert found is None or isinstance(found, AuthError)


def test_whoever_has_not_said_who_it_is_does_not_learn_which_messages_there_are() -> None:
    assert str(refused(NOBODY, "status")) == str(refused(NOBODY, "no such message"))


@pytest.mark.parametrize("name", sorted(HANDLERS))
def test_the_owner_of_the_machine_may_ask_for_everything(name: str) -> None:
    assert refused(OWNER, name) is None


@pytest.mark.parametrize("name", sorted(HANDLERS))
def test_a_machine_that_joined_may_not_speak_as_a_user(name: str) -> None:
    found = refused(MACHINE, name)
    assert (found is None) == (name in OPEN | A_MACHINES)
    assert found is None or isinstance(found, PermissionDeniedError)


@pytest.mark.parametrize("name", sorted(HANDLERS))
@pytest.mark.parametrize("caller", [OWNER, MACHINE], ids=["own", "joined"])
def test_containers_may_ask_for_what_containers_need(caller: Caller, name: str) -> None:
    assert (refused(caller, name, routed=True) is None) == (name in FROM_CONTAINERS)


@pytest.mark.parametrize("name", sorted(HANDLERS))
def test_who_holds_a_token_has_no_containers(name: str) -> None:
    assert isinstance(refused(holder(Scope.ADMIN), name, routed=True), PermissionDeniedError)


@pytest.mark.parametrize("name", sorted(HANDLERS))
def test_a_token_without_the_scope_is_told_which_it_needs(name: str) -> None:
    if name in OPEN:
        return
    needed = needed_scope(name)
    found = refused(holder(), name)
    assert isinstance(found, ScopeMissing)
    assert found.details["needed"] == needed
    assert name == "join" or refused(holder(needed), name) is None


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("status", Scope.READ),
        ("node.list", Scope.READ),
        ("call", Scope.CALL),
        ("call.get", Scope.CALL),
        ("app", Scope.RUN),
        ("blob.put", Scope.RUN),
        ("container.exec", Scope.RUN),
        ("image.build", Scope.RUN),
        ("token.new", Scope.ADMIN),
        ("node.remove", Scope.ADMIN),
        ("listen.set", Scope.ADMIN),
        ("blobs.collect", Scope.ADMIN),
        ("a message of a later version", Scope.RUN),
    ],
)
def test_each_message_needs_its_scope(name: str, scope: Scope) -> None:
    assert needed_scope(name) is scope


def test_nobody_joins_by_a_token_for_clients() -> None:
    assert isinstance(refused(holder(*Scope), "join"), ScopeMissing)


def test_names_of_secrets_are_read_set_by_who_may_run_code_and_their_key_changed_by_owners() -> None:
    asked = {name: needed_scope(name) for name in HANDLERS if name.startswith("secret.")}
    assert asked == {
        "secret.list": Scope.READ,
        "secret.put": Scope.RUN,
        "secret.delete": Scope.RUN,
        "secret.rotate": Scope.ADMIN,
    }
    assert FROM_CONTAINERS.isdisjoint(asked)
