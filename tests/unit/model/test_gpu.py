"""GPUs: how a wish is written and read, and how a device is named."""

from __future__ import annotations

import pytest

from squall.model.gpu import Gpus, covers, in_words, parse_gpus, rank_of, type_of
from squall.model.gpu_device import DeviceNode


@pytest.mark.parametrize(
    ("asked", "wishes"),
    [
        (None, ()),
        ("H100", (Gpus(type="H100"),)),
        ("h100:2", (Gpus(type="H100", count=2),)),
        ("A100-80gb:8", (Gpus(type="A100-80GB", count=8),)),
        ("H100-80GB", (Gpus(type="H100"),)),
        ("Any", (Gpus(),)),
        ("l40s", (Gpus(type="L40S"),)),
        ("RTX-6000-Ada", (Gpus(type="RTX-6000-ADA"),)),
        (["H100", "A100:2", "any"], (Gpus(type="H100"), Gpus(type="A100", count=2), Gpus())),
        (("T4",), (Gpus(type="T4"),)),
    ],
)
def test_a_wish_is_read_whatever_its_case(asked: object, wishes: tuple[Gpus, ...]) -> None:
    assert parse_gpus(asked) == wishes


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "H100:",
        "H100:0",
        "H100:17",
        "H100:-1",
        "H100 x2",
        ":2",
        "2",
        1,
        True,
        [],
        ["H100", 1],
        {"H100": 1},
        "A100-20GB",
        "H100-40GB",
        ["H100", "h100"],
        "x" * 41,
        "H100\n:2",
    ],
)
def test_what_is_no_wish_is_refused(asked: object) -> None:
    with pytest.raises(ValueError, match=r"gpu"):
        parse_gpus(asked)


@pytest.mark.parametrize(
    ("name", "gib", "kind"),
    [
        ("NVIDIA H100 80GB HBM3", 79.6, "H100"),
        ("NVIDIA H100 PCIe", 79.6, "H100"),
        ("NVIDIA H200", 140.4, "H200"),
        ("NVIDIA A100-SXM4-80GB", 79.3, "A100-80GB"),
        ("NVIDIA A100 80GB PCIe", 79.3, "A100-80GB"),
        ("A100-PCIE-40GB", 39.6, "A100-40GB"),
        ("NVIDIA A100-SXM4-40GB", 39.6, "A100-40GB"),
        ("NVIDIA L4", 22.5, "L4"),
        ("NVIDIA L40S", 44.9, "L40S"),
        ("NVIDIA A10G", 22.5, "A10G"),
        ("Tesla T4", 14.7, "T4"),
        ("Tesla V100-SXM2-16GB", 15.8, "V100-16GB"),
        ("Tesla V100-SXM2", 31.7, "V100-32GB"),
        ("NVIDIA B200", 178.4, "B200"),
        ("NVIDIA GeForce RTX 4090", 23.9, "RTX-4090"),
        ("NVIDIA RTX 6000 Ada Generation", 47.9, "RTX-6000-ADA-GENERATION"),
        ("", 1.0, "UNKNOWN"),
    ],
)
def test_a_device_has_the_type_that_people_say(name: str, gib: float, kind: str) -> None:
    assert type_of(name, int(gib * 2**30)) == kind
    if kind != "UNKNOWN":
        assert covers(parse_gpus(kind)[0].type, kind)


def test_a_wish_without_a_size_is_covered_by_each_size_and_any_by_each_type() -> None:
    assert covers("A100", "A100-40GB")
    assert covers("A100", "A100-80GB")
    assert covers("any", "SOMETHING-NEW")
    assert not covers("A100-80GB", "A100-40GB")
    assert not covers("A10", "A100-40GB")
    assert not covers("L4", "L40")


def test_types_are_in_order_from_the_least_and_unknown_ones_come_last() -> None:
    kinds = ["H200", "RTX-9999", "A100-80GB", "T4", "A100-40GB", "L4", "H100"]
    assert sorted(kinds, key=rank_of) == ["T4", "L4", "A100-40GB", "A100-80GB", "H100", "H200", "RTX-9999"]


def test_a_wish_reads_as_it_was_written() -> None:
    assert in_words(parse_gpus(["H100", "A100:2", "any"])) == "H100, else A100:2, else any"


@pytest.mark.parametrize(
    ("path", "major"),
    [
        ("/dev/sda", 8),
        ("/dev/nvidia0/../sda", 8),
        ("/dev/nvidia-caps/nvidia-cap1", 235),
        ("/dev/nvidia-modeset", 195),
        ("nvidia0", 195),
        ("/dev/nvidia", 195),
        ("/dev/nvidia0", 0),
        ("/dev/nvidia0\n", 195),
    ],
)
def test_no_container_is_given_another_device_than_those_of_gpus(path: str, major: int) -> None:
    with pytest.raises(ValueError, match=r"/dev/|device"):
        DeviceNode(path=path, major=major, minor=0)
