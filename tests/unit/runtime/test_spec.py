"""A spec says one thing, or none at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from squall.runtime.spec import Limits, Mount, SandboxSpec, Veth

_SANDBOX: dict[str, Any] = {"id": "c1", "scratch": "/s/c1", "lowers": ("/l",)}
_PROCESS: dict[str, Any] = {
    "id": "c1",
    "scratch": "/s/c1",
    "level": "process",
    "interpreter": "/usr/bin/python3",
}


def test_it_comes_back_from_json_as_it_was() -> None:
    spec = SandboxSpec(
        **_SANDBOX,
        mounts=(Mount(source="/usr", target="/usr"), Mount(source="/a", target="/b", writable=True)),
        env={"A": "b"},
        limits=Limits(memory_bytes=1, pids=2),
        uid_base=1 << 20,
        argv=("true",),
        capabilities="build",
        network="veth",
        veth=Veth(name="sq0", address="10.88.0.16", gateway="10.88.0.1", mtu=1400),
        unreachable=("10.0.0.0/8",),
        owned=("/l",),
        upper="/changes",
    )
    assert SandboxSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": "../up"},
        {"id": "a/b"},
        {"id": "-x"},
        {"scratch": "relative"},
        {"scratch": "/a/../b"},
        {"lowers": ()},
        {"lowers": ("relative",)},
        {"uid_base": 0},
        {"uid_base": 1000},
        {"argv": ()},
        {"level": "vm"},
        {"network": "bridge"},
        {"veth": Veth(name="sq0", address="10.88.0.16", gateway="10.88.0.1")},
        {"unreachable": ("the office",)},
        {"capabilities": "all"},
        {"env": {"A=B": "c"}},
        {"env": {"A": "b\0"}},
        {"workdir": "app"},
        {"owned": ("/another",)},
        {"upper": "changes"},
        {"upper": "/changes/../etc"},
        {"upper": "/c", "level": "crun", "runtime": ("/usr/bin/crun",), "argv": ("/bin/true",)},
    ],
)
def test_a_wrong_one_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        SandboxSpec(**{**_SANDBOX, **wrong})


@pytest.mark.parametrize(
    "asked",
    [
        {"lowers": ("/l",)},
        {"mounts": (Mount(source="/usr", target="/usr"),)},
        {"uid_base": 1 << 20},
        {"capabilities": "build"},
        {"upper": "/changes"},
        {"interpreter": None},
    ],
)
def test_what_needs_namespaces_is_refused_by_name_at_the_level_process(asked: dict[str, Any]) -> None:
    SandboxSpec(**_PROCESS)
    with pytest.raises(ValueError, match="level 'process' has no namespaces"):
        SandboxSpec(**{**_PROCESS, **asked})


@pytest.mark.parametrize(
    "value", [None, 3, [], {"id": 3}, {"id": "x", "extra": 1}, {"mounts": 3, "id": "x", "scratch": "/s"}]
)
def test_what_is_no_spec_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        SandboxSpec.from_json(value)


def test_a_limit_of_nothing_is_refused() -> None:
    for name in ("memory_bytes", "cpu_milli", "pids", "disk_bytes", "nofile"):
        with pytest.raises(ValueError, match=name):
            Limits(**{name: 0})


def test_nothing_is_mounted_over_the_root() -> None:
    with pytest.raises(ValueError, match="root"):
        Mount(source="/a", target="/")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a/b"},
        {"name": "longer-than-15ch"},
        {"address": "::1"},
        {"gateway": "no"},
        {"mtu": 10},
    ],
)
def test_a_wrong_veth_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Veth(**{"name": "sq0", "address": "10.88.0.16", "gateway": "10.88.0.1", **wrong})
