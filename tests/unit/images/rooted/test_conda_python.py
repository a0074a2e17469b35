from __future__ import annotations

import pytest

from squall.blobs.manifest import Attributes, Directory, Entry, File, Whiteout
from squall.images.rooted.conda_python import environment_python

PLAIN = Attributes(mode=0o644)


def layer(*paths: str, gone: tuple[str, ...] = (), opaque: str = "") -> dict[str, Entry]:
    found: dict[str, Entry] = {path: File(path=path, attributes=PLAIN) for path in paths}
    found |= {path: Whiteout(path=path) for path in gone}
    if opaque:
        found[opaque] = Directory(path=opaque, attributes=PLAIN, opaque=True)
    return found


def record(version: str, build: str = "h1_0_cpython") -> str:
    return f"opt/conda/conda-meta/python-{version}-{build}.json"


def test_an_environment_says_by_its_records_which_python_it_has() -> None:
    python = environment_python([layer("opt/conda/conda-meta/pip-24.0-0.json"), layer(record("3.12.4"))])
    assert python is not None
    assert (python.path, python.prefix, python.version) == ("/opt/conda/bin/python", "/opt/conda", "3.12.4")
    assert python.packages == ("/opt/conda/lib/python3.12/site-packages",)
    assert (python.copy_of, python.glibc) == ("", "")


def test_what_came_last_counts_and_what_went_does_not() -> None:
    replaced = layer(record("3.13.0"), gone=(record("3.12.4"),))
    assert environment_python([replaced, layer(record("3.12.4"))]).version == "3.13.0"  # type: ignore[union-attr]
    assert environment_python([layer(gone=(record("3.12.4"),)), layer(record("3.12.4"))]) is None
    assert environment_python([layer(opaque="opt/conda/conda-meta"), layer(record("3.12.4"))]) is None


@pytest.mark.parametrize(
    "path",
    [
        *("opt/conda/conda-meta/python-dateutil-2.9.0-py_0.json", "opt/conda/pkgs/python-3.12.4-0/x.json"),
        *("opt/conda/conda-meta/python-2.7.18-0.json", "usr/opt/conda/conda-meta/python-3.12.4-0.json"),
    ],
)
def test_other_packages_and_places_are_no_python_of_it(path: str) -> None:
    assert environment_python([layer(path)]) is None
    assert environment_python([]) is None
