from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from squall.images.debian.catalog import Catalog
from squall.images.debian.closure import packages_for
from squall.model.errors import ImageBuildError, PackageNotFound
from tests.unit.images.debian.distribution import Deb, base, index


def chosen(debs: Iterable[Deb], *further: str) -> Sequence[str]:
    """The names of the packages of a root, less those that every root has."""
    catalog = Catalog()
    reading = catalog.reading("http://mirror.example.com/debian")
    reading.feed(index([*base(), *debs]))
    reading.end()
    found = {package.name for package in packages_for(catalog, further)}
    always = {deb.name for deb in base()}
    assert always <= found
    return sorted(found - always)


def test_what_is_essential_is_in_every_root_though_nothing_depends_on_it() -> None:
    assert chosen([Deb("coreutils", more="Essential: yes"), Deb("games")]) == ["coreutils"]


def test_libraries_that_programs_of_any_origin_need_are_in_every_root_where_there_are_any() -> None:
    assert chosen([Deb("tzdata"), Deb("libssl3"), Deb("games")]) == ["libssl3", "tzdata"]
    # A later release calls it otherwise, and says so.
    assert chosen([Deb("libssl3t64", more="Provides: libssl3")]) == ["libssl3t64"]


def test_of_several_that_stand_for_a_name_the_more_important_one_is_taken_then_the_first_by_name() -> None:
    wants = Deb("wants", more="Depends: mail")
    rare, usual = Deb("a-rare", more="Provides: mail"), Deb("b-usual", more="Provides: mail")
    assert chosen([wants, rare, usual], "wants") == ["a-rare", "wants"]
    usual = Deb("b-usual", more="Priority: important\nProvides: mail")
    assert chosen([wants, rare, usual], "wants") == ["b-usual", "wants"]


def test_a_package_that_stands_for_what_another_one_excludes_is_excluded_too() -> None:
    debs = [Deb("one", more="Conflicts: mail"), Deb("two", more="Provides: mail")]
    with pytest.raises(ImageBuildError, match="one and two"):
        chosen(debs, "one", "two")


def test_a_package_that_excludes_all_others_of_its_kind_does_not_exclude_itself() -> None:
    assert chosen([Deb("one", more="Provides: mail\nConflicts: mail")], "one") == ["one"]


def test_a_name_that_is_stood_for_without_a_version_meets_no_wish_for_one() -> None:
    wants = Deb("wants", more="Depends: mail (>= 2)")
    for provides in ("mail", "mail (= 1.9)"):
        with pytest.raises(PackageNotFound, match="wants depends on mail"):
            chosen([wants, Deb("one", more=f"Provides: {provides}")], "wants")
    assert chosen([wants, Deb("one", more="Provides: mail (= 2)")], "wants") == ["one", "wants"]
