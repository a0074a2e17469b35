"""Which hosts the runtime's tests run on: root, and an ordinary user."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests import machine
from tests.linux import leaks
from tests.linux.runtime.box import Box, a_box
from tests.linux.runtime.oci_box import GVISOR, SHARED, Oci, made


@pytest.fixture(
    params=[
        pytest.param("root", marks=pytest.mark.needs("root", "namespaces")),
        pytest.param("user", marks=pytest.mark.needs("namespaces")),
    ]
)
def box(request: pytest.FixtureRequest) -> Iterator[Box]:
    """A launcher as root, then one as an ordinary user; nothing may be left of either."""
    with a_box(request.param) as one:
        yield one


@pytest.fixture
def root_box() -> Iterator[Box]:
    """A launcher as root, for tests marked as in need of one."""
    with a_box("root") as one:
        yield one


@pytest.fixture
def own_box() -> Iterator[Box]:
    """A launcher as whoever runs the tests."""
    if not machine.facts()["namespaces"]:
        pytest.skip(f"needs namespaces: {machine.REMEDIES['namespaces']}")
    with a_box("root" if os.geteuid() == 0 else "user") as one:
        yield one


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Of the tests of one file, by its end."""
    with leaks.nothing_left():
        yield


@pytest.fixture(params=[*SHARED, GVISOR])
def oci(request: pytest.FixtureRequest, box: Box) -> Oci:
    """Each level whose runtime is installed, on each kind of host."""
    return made(box, request.param)


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest, box: Box) -> Oci:
    """The levels whose containers call the host's own kernel."""
    return made(box, request.param)


@pytest.fixture(params=[GVISOR])
def gvisor(request: pytest.FixtureRequest, box: Box) -> Oci:
    """The level whose containers have a kernel of their own."""
    return made(box, request.param)
