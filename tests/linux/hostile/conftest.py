"""The whole catalogue, played once for each start and once without any sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.linux import leaks
from tests.linux.hostile.scene import Played, a_scene, play, play_outside
from tests.linux.hostile.starts import OCI, STARTS, Start


def _param(start: Start) -> object:
    needs = ["namespaces"] if start.kind == "user" else ["root", "namespaces"]
    if start.level in OCI:
        needs.append(OCI[start.level])
    return pytest.param(start, id=str(start), marks=pytest.mark.needs(*needs))


@pytest.fixture(scope="module", params=[_param(start) for start in STARTS])
def played(request: pytest.FixtureRequest) -> Iterator[Played]:
    """What came of one start."""
    with a_scene(request.param) as scene:
        yield play(scene, request.param)


@pytest.fixture(scope="module")
def outside() -> Iterator[Played]:
    """What came of it as root of the host without a sandbox."""
    with a_scene(Start(kind="root", rung="exec")) as scene:
        yield play_outside(scene)


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Of the tests of one file, by its end."""
    with leaks.nothing_left():
        yield
