from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import pytest

from squall.blobs.manifest import Attributes
from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.python.base_look import look_at_base
from squall.images.python.nouns import Base, BasePython, Libc, Wanted
from tests.unit.images.python.trees import LIBRARIES, Made, glibc, library, python, tree

WANTED = Wanted(minor="3.12")


def looked(*layers: Mapping[str, Made], wanted: Wanted = WANTED, libraries: Collection[str] = ()) -> Base:
    async def main() -> Base:
        blobs = MemoryBlobs()
        return await look_at_base([await tree(blobs, layer) for layer in layers], blobs, wanted, libraries)

    return asyncio.run(main())


def test_the_c_library_tells_its_version_and_where_libraries_lie() -> None:
    base = looked(glibc(31))
    assert base.libc == Libc(kind="glibc", version=(2, 31))
    assert base.library_dir == LIBRARIES


def test_musl_is_seen_and_so_is_nothing_at_all() -> None:
    assert looked({"lib/ld-musl-x86_64.so.1": library()}).libc == Libc(kind="musl")
    assert looked({}).libc is None
    assert looked().libc is None


def test_another_machines_c_library_is_none_for_this_one() -> None:
    assert looked(glibc(), wanted=Wanted(minor="3.12", machine="aarch64")).libc is None


def test_libraries_are_found_where_the_loader_looks_and_nowhere_else() -> None:
    base = looked(
        {
            **glibc(),
            f"{LIBRARIES}/libssl.so.3": library("OPENSSL_3.0.0"),
            "opt/libhidden.so.1": library(),
            f"{LIBRARIES}/libfat.so.1": library(machine="aarch64"),
            f"{LIBRARIES}/libtext.so.1": b"GROUP ( /lib/elsewhere )",
        },
        libraries=(
            "libssl.so.3",
            "libhidden.so.1",
            "libfat.so.1",
            "libtext.so.1",
            "../../opt/libhidden.so.1",
            "libc.so.6",
        ),
    )
    assert dict(base.libraries)["libssl.so.3"] == ("OPENSSL_3.0.0",)
    assert set(base.libraries) == {"libssl.so.3", "libc.so.6"}


def test_a_python_is_found_by_the_images_path_with_its_site_packages() -> None:
    base = looked({**glibc(), **python("usr/local")})
    assert base.pythons == (
        BasePython(
            interpreter="/usr/local/bin/python3.12",
            version="3.12",
            site_packages="/usr/local/lib/python3.12/site-packages",
        ),
    )
    elsewhere = looked(
        {**glibc(), **python("opt/conda")}, wanted=Wanted(minor="3.12", path=("/opt/conda/bin",))
    )
    assert [one.interpreter for one in elsewhere.pythons] == ["/opt/conda/bin/python3.12"]
    assert looked({**glibc(), **python("opt/conda")}).pythons == ()


def test_a_distributions_python_sends_installs_to_where_the_distribution_wants_them() -> None:
    debian = {
        **glibc(),
        **python("usr", "3.11"),
        "usr/lib/python3.11/EXTERNALLY-MANAGED": b"[externally-managed]\n",
    }
    (found,) = looked(debian, wanted=Wanted(minor="3.11")).pythons
    assert found.managed
    assert found.site_packages == "/usr/local/lib/python3.11/dist-packages"
    (found,) = looked({**debian, "etc/os-release": b"ID=arch\n"}, wanted=Wanted(minor="3.11")).pythons
    assert found.site_packages == "/usr/local/lib/python3.11/site-packages"


def test_a_virtual_environment_on_the_path_stays_one() -> None:
    layer = {
        **glibc(),
        **python("usr/local"),
        "opt/venv/pyvenv.cfg": b"home = /usr/local/bin\n",
        "opt/venv/bin/python3.12": "-> /usr/local/bin/python3.12",
    }
    found = looked(layer, wanted=Wanted(minor="3.12", path=("/opt/venv/bin", "/usr/local/bin"))).pythons
    assert found[0].interpreter == "/opt/venv/bin/python3.12"
    assert found[0].site_packages == "/opt/venv/lib/python3.12/site-packages"
    assert found[1].interpreter == "/usr/local/bin/python3.12"


def test_a_python_that_was_taken_apart_is_told_from_a_whole_one() -> None:
    minimal = {path: what for path, what in python("usr").items() if "asyncio" not in path}
    (found,) = looked({**glibc(), **minimal}).pythons
    assert found.lacks == "/usr/lib/python3.12/asyncio/__init__.py is missing"


def test_what_an_upper_tree_takes_away_is_not_there() -> None:
    assert looked({**glibc(), **python("usr/local")}, {"usr/local/bin": "gone"}).pythons == ()
    assert looked(glibc(), {f"{LIBRARIES}/libc.so.6": "gone"}).libc is None


@pytest.mark.parametrize(
    "links",
    [
        {"usr/local/bin/python3.12": "-> /usr/local/bin/python3.12"},
        {"usr/local/bin/python3.12": "-> ../../../../../../../../etc/hostname"},
        {"usr/local/bin": "-> /usr/local/bin"},
        {"usr/local/bin/python3.12": "-> " + "x/" * 1_900 + "y"},
        {"etc": "-> /proc/self/root/etc", "usr/local/bin/python3.12": "-> /proc/1/exe"},
        {"a": "-> b/b", "b": "-> a/a", "usr/local/bin/python3.12": "-> /a/python3.12"},
        {"usr/local/bin/python3.12": None, "usr/bin/python3.12": None},
    ],
)
def test_links_of_a_hostile_image_lead_to_nothing_of_this_machine(links: dict[str, Made]) -> None:
    base = looked(links, libraries=("libc.so.6",))
    assert base.pythons == ()
    assert base.libc is None
    assert base.distribution.id == ""


def test_a_python_of_several_names_is_one() -> None:
    layer = {**glibc(), **python("usr/local"), "usr/local/bin/python": "= usr/local/bin/python3.12"}
    layer["usr/local/bin/python"] = "-> python3"
    assert len(looked(layer).pythons) == 1


def test_a_hardlinked_library_is_a_library() -> None:
    layer: dict[str, Made] = {
        **glibc(),
        f"{LIBRARIES}/liba.so.1": library("A"),
        f"{LIBRARIES}/libb.so.1": f"= {LIBRARIES}/liba.so.1",
    }
    assert dict(looked(layer, libraries=("libb.so.1",)).libraries) == {"libb.so.1": ("A",)}


def test_directories_keep_what_the_base_gave_them_and_links_in_their_place_are_told() -> None:
    base = looked({**glibc(), "usr/local/lib": None})
    assert base.attributes["usr/local/lib"] == Attributes(mode=0o750, uid=7)
    assert LIBRARIES in base.attributes
    assert "etc" not in base.attributes
    assert looked({**glibc(), "usr/local": "-> ../opt/local"}).diverted == ("usr/local",)
