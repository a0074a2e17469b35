from __future__ import annotations

import contextlib
import dataclasses
import itertools
import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import given, settings, strategies as st

from squall.images.debian.catalog import Catalog
from squall.images.debian.closure import packages_for
from squall.images.debian.deb import Control, DebReader
from squall.images.debian.nouns import Package
from squall.images.debian.relation import One, parse_relations, show
from squall.images.debian.stanza import StanzaReader, parse_stanza
from squall.images.debian.version import satisfies, version_key
from squall.images.oci.tar_member import Member
from squall.model.errors import Error, ImageBuildError, PackageNotFound
from tests.unit.images.debian.distribution import Deb, Path, base, index

upstream = st.text("0129az.+~", min_size=1, max_size=6).map(lambda text: "1" + text)
versions = st.builds(
    lambda epoch, up, revision: f"{epoch}{up}{revision}",
    st.sampled_from(["", "0:", "1:"]),
    upstream,
    st.sampled_from(["", "-0", "-1", "-1~x", "-1+b2", "-a"]),
)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0~rc1", "1.0"),
        ("1.0", "1.0+b1"),
        ("1.0", "1.0a"),
        ("1.0a", "1.0+"),
        ("1.9", "1.10"),
        ("2.0", "1:1.0"),
        ("1.0-1", "1.0-1+deb12u1"),
        ("1.0-1~deb12u1", "1.0-1"),
        ("1.0~~", "1.0~~a"),
        ("1.0~~a", "1.0~"),
        ("1.0-9", "1.0-10"),
        ("1.0-a-1", "1.0-b-1"),
    ],
)
def test_versions_are_in_the_order_of_the_distribution(older: str, newer: str) -> None:
    assert version_key(older) < version_key(newer)


@given(versions)
def test_zeros_that_lead_or_are_left_out_make_no_other_version(version: str) -> None:
    assert version_key(version) == version_key("0" + version) or ":" in version
    if "-" not in version:
        assert version_key(version) == version_key(version + "-0")


@given(versions)
def test_a_tilde_comes_before_the_end_and_everything_else_after_it(version: str) -> None:
    assert version_key(version + "~") < version_key(version) < version_key(version + "+x")


@pytest.mark.needs("dpkg")
@settings(max_examples=150, deadline=None)
@given(versions, versions, st.sampled_from(["<<", "<=", "=", ">=", ">>"]))
def test_dpkg_orders_versions_the_same_way(one: str, other: str, relation: str) -> None:
    word = {"<<": "lt", "<=": "le", "=": "eq", ">=": "ge", ">>": "gt"}[relation]
    judged = subprocess.run(["dpkg", "--compare-versions", one, word, other], check=False)
    assert satisfies(one, relation, other) == (judged.returncode == 0)


@given(st.text(max_size=30))
def test_any_text_is_a_version_or_refused(text: str) -> None:
    try:
        version_key(text)
    except ValueError:
        return
    assert text


names = st.sampled_from([f"p{number}" for number in range(8)])
ones = st.builds(
    One, names, st.just("") | st.sampled_from(["<<", "<=", "=", ">=", ">>"]), st.sampled_from(["1", "2"])
).map(lambda one: one if one.relation else One(one.name))
groups = st.lists(st.lists(ones, min_size=1, max_size=3).map(tuple), max_size=3)


@given(groups)
def test_relations_are_read_as_they_are_shown(wanted: Sequence[tuple[One, ...]]) -> None:
    assert parse_relations(", ".join(map(show, wanted))) == tuple(wanted)


packages = st.dictionaries(
    names,
    st.tuples(st.sampled_from(["1", "1.5", "2"]), groups, st.lists(names, max_size=2)),
    max_size=8,
)


@settings(max_examples=200)
@given(packages, st.lists(names, max_size=2), st.randoms())
def test_a_root_has_all_that_its_packages_depend_on_in_whatever_order_they_are_listed(
    known: dict[str, tuple[str, list[tuple[One, ...]], list[str]]], further: list[str], dice: object
) -> None:
    debs = [*BASE, *(_deb(name, *said) for name, said in known.items())]
    shuffled = list(debs)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a Random
    try:
        chosen = packages_for(_catalog(debs), further)
    except PackageNotFound as error:
        with pytest.raises(PackageNotFound, match=str(error.package)):
            packages_for(_catalog(shuffled), further)
        return
    assert chosen == packages_for(_catalog(shuffled), further)
    assert {"apt", "base-files", "ca-certificates", "mawk"} <= {package.name for package in chosen}
    for package in chosen:
        for wanted in package.needs:
            assert any(_meets(other, one) for other in chosen for one in wanted), (package.name, wanted)
    for name in further:
        assert any(package.name == name or name in package.gives for package in chosen)


def test_of_alternatives_one_that_is_there_anyway_is_taken() -> None:
    debs = [
        *base(),
        Deb("first", more="Depends: heavy | light"),
        Deb("heavy"),
        Deb("light"),
        Deb("zlast", more="Depends: light"),
    ]
    assert {"light"} == {package.name for package in packages_for(_catalog(debs), ["first", "zlast"])} & {
        "light",
        "heavy",
    }
    assert "heavy" in {package.name for package in packages_for(_catalog(debs), ["first"])}


def test_packages_that_exclude_each_other_are_told() -> None:
    debs = [*base(), Deb("one", more="Conflicts: two (<< 2)"), Deb("two")]
    with pytest.raises(ImageBuildError, match="one and two"):
        packages_for(_catalog(debs), ["one", "two"])
    debs[-1] = Deb("two", version="2")
    assert len(packages_for(_catalog(debs), ["one", "two"])) == len(debs)


DEB = Deb(
    "some",
    paths=(Path("./usr/a", b"a" * 5000), Path("./usr/b", b"b")),
    files={"postinst": b"#!/bin/sh\n"},
)


@given(st.lists(st.integers(0, 4000), max_size=6), st.sampled_from(["xz", "zst", "gz", ""]))
def test_a_package_is_read_the_same_however_it_is_cut(cuts: list[int], packing: str) -> None:
    packed = Deb(**{**vars(DEB), "packing": packing}).packed()
    assert _read(packed, [0, *sorted(cuts), len(packed)]) == _read(packed, [0, len(packed)])


@settings(max_examples=300)
@given(st.data())
def test_damaged_packages_are_refused_and_nothing_else_happens(data: st.DataObject) -> None:
    packed = bytearray(DEB.packed())
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    del packed[data.draw(st.integers(0, len(packed))) :]
    # Anything else that is raised fails the test.
    with contextlib.suppress(ValueError, Error):
        _read(bytes(packed), [0, len(packed)])


@given(st.lists(st.integers(0, 400), max_size=6))
def test_an_index_is_read_the_same_however_it_is_cut(cuts: list[int]) -> None:
    data = index(base())
    reader = StanzaReader()
    places = [0, *sorted(cuts), len(data)]
    cut = [stanza for start, stop in itertools.pairwise(places) for stanza in reader.feed(data[start:stop])]
    stanzas = [parse_stanza(stanza.decode()) for stanza in (*cut, *reader.end())]
    assert [stanza["Package"] for stanza in stanzas] == [deb.name for deb in base()]


BASE = [dataclasses.replace(deb, packing="") for deb in base()]


def _deb(name: str, version: str, wanted: list[tuple[One, ...]], gives: list[str]) -> Deb:
    depends = ", ".join(map(show, wanted))
    lines = [f"Depends: {depends}"] * bool(wanted) + [f"Provides: {', '.join(gives)}"] * bool(gives)
    return Deb(name, version=version, more="\n".join(lines), packing="")


def _catalog(debs: Sequence[Deb]) -> Catalog:
    catalog = Catalog()
    reading = catalog.reading("http://mirror.example.com/debian")
    reading.feed(index(debs))
    reading.end()
    return catalog


def _meets(package: Package, one: One) -> bool:
    if package.name == one.name:
        return one.accepts(package.version)
    return one.name in package.gives and not one.relation


def _read(packed: bytes, places: list[int]) -> list[object]:
    reader = DebReader()
    found: list[object] = []
    for start, stop in itertools.pairwise(places):
        for one in reader.feed(packed[start:stop]):
            if isinstance(one, Control | Member):
                found.append(one)
            elif found and isinstance(found[-1], bytes):
                found[-1] += bytes(one)
            else:
                found.append(bytes(one))
    reader.end()
    return found
