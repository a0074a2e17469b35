"""What a host refuses of a spec, in a sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from squall.runtime.host import Host
from squall.runtime.spec import SandboxSpec
from squall.runtime.template.plan import without_source

HOST = Host(kernel=(6, 1), machine="x86_64", uid=0, privileged=True)
SPEC = SandboxSpec(id="c", scratch="/s", lowers=("/v/1", "/l"))
OWNED, KEPT = replace(SPEC, owned=("/l",)), replace(SPEC, upper="/u")
PROCESS = SandboxSpec(id="c", scratch="/s", level="process", argv=("true",))


@pytest.mark.parametrize(
    ("missing", "refused"),
    [
        ({}, ()),
        ({"owned_refused": "no such mounts"}, (OWNED,)),
        ({"upper_refused": "it is an overlay"}, (KEPT,)),
        ({"sandbox_refused": "no namespaces"}, (SPEC, OWNED, KEPT)),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_reason_and_nothing_else(
    missing: dict[str, Any], refused: tuple[SandboxSpec, ...]
) -> None:
    host = replace(HOST, **missing)
    for spec in (SPEC, OWNED, KEPT, PROCESS):
        said = host.refuses(spec)
        assert bool(said) == (spec in refused)
        assert not said or next(iter(missing.values())) in said


def test_no_later_version_follows_where_the_source_has_owners_of_its_own() -> None:
    shared = without_source(OWNED, "/v/1")
    assert shared is not None
    assert (shared.lowers, shared.owned) == (("/l",), ("/l",))
    assert without_source(replace(SPEC, owned=("/v/1",)), "/v/1") is None
