from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.python.elf import Elf
from squall.images.python.give import Means, give_python
from squall.images.python.nouns import ClientPrefix, Declined, Wanted
from squall.images.python.prefix import look_at_prefix
from squall.images.python.standalone_fetch import Source
from squall.model.errors import PythonUnavailable, StateDirectoryError
from squall.model.image import ClientPython
from tests.property.elves import elf_file
from tests.unit.images.python.trees import glibc, tree

PROGRAM = Elf(
    machine="x86_64",
    interpreter="/lib64/ld-linux-x86-64.so.2",
    needed=("libpython3.12.so.1.0", "libc.so.6"),
    rpath=("$ORIGIN/../lib",),
    runpath=True,
)
MODULE = Elf(machine="x86_64", needed=("libhouse.so.1", "libm.so.6"), rpath=("${ORIGIN}/..",), runpath=True)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A Python that has one of everything."""
    top = tmp_path / "there"
    for path, data in {
        "bin/python3.12": elf_file(PROGRAM),
        "bin/pip": b"#!/bin/sh\n",
        "include/python3.12/Python.h": b"",
        "lib/libpython3.12.so.1.0": elf_file(Elf(machine="x86_64", needed=("libc.so.6",))),
        "lib/python3.12/libhouse.so.1": elf_file(Elf(machine="x86_64", needed=("libdeep.so.1",))),
        "lib/python3.12/libdeep.so.1": elf_file(Elf(machine="aarch64")),
        "lib/python3.12/os.py": b"",
        "lib/python3.12/site-packages/own.py": b"",
        "lib/python3.12/lib-dynload/_house.cpython-312-x86_64-linux-gnu.so": elf_file(MODULE),
        "lib/python3.12/lib-dynload/_text.cpython-312-x86_64-linux-gnu.so": b"no module",
    }.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(data)
    (top / "bin" / "python3.12").chmod(0o755)
    return top


def client(prefix: Path) -> ClientPython:
    return ClientPython(
        executable=str(prefix / "bin" / "python3.12"),
        prefix=str(prefix),
        base_prefix=str(prefix),
        version="3.12.1",
        stdlib_dirs=(str(prefix / "lib" / "python3.12"),),
    )


def looked(python: ClientPython) -> ClientPrefix:
    found = look_at_prefix(python)
    assert isinstance(found, ClientPrefix), found
    return found


def test_what_is_copied_of_a_prefix(prefix: Path) -> None:
    found = looked(client(prefix))
    assert {path for path, _ in found.files} >= {
        "usr/local/bin/python3.12",
        "usr/local/include/python3.12/Python.h",
        "usr/local/lib/python3.12/os.py",
    }
    assert not [path for path, _ in found.files if "site-packages" in path or "pip" in path]
    assert found.site_packages == "usr/local/lib/python3.12/site-packages"
    assert dict(found.links)["usr/local/bin/python3"].endswith("usr/local/bin/python3.12")


def test_libraries_are_found_as_the_loader_finds_them(prefix: Path) -> None:
    found = looked(client(prefix))
    assert found.libraries["libpython3.12.so.1.0"].source == str(prefix / "lib" / "libpython3.12.so.1.0")
    assert found.libraries["libhouse.so.1"].source == str(prefix / "lib" / "python3.12" / "libhouse.so.1")
    assert "libdeep.so.1" not in found.libraries, "it is for another machine"
    assert "libm.so.6" not in found.libraries, "a part of a C library is of no use beside another one"


def test_a_file_that_is_no_module_is_copied_and_asked_for_nothing(prefix: Path) -> None:
    found = looked(client(prefix))
    assert [one.path.rpartition("/")[2][:6] for one in found.binaries] == ["python", "_house"]
    assert [path for path, _ in found.files if "_text." in path]


def test_a_virtual_environment_is_its_base_with_nothing_of_its_own(prefix: Path, tmp_path: Path) -> None:
    link = tmp_path / "venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(prefix / "bin" / "python3.12")
    python = replace(client(prefix), executable=str(link), prefix=str(tmp_path / "venv"))
    assert looked(python).source == str(prefix / "bin" / "python3.12")


def test_links_that_lead_out_of_the_library_stay_behind(prefix: Path) -> None:
    library = prefix / "lib" / "python3.12"
    (library / "inside.py").symlink_to("os.py")
    (library / "outside.py").symlink_to("../../../../etc/passwd")
    (library / "far.py").symlink_to("/etc/passwd")
    (library / "packages.py").symlink_to("site-packages/own.py")
    links = dict(looked(client(prefix)).links)
    assert links["usr/local/lib/python3.12/inside.py"] == "os.py"
    assert not [path for path in links if "out" in path or "far" in path or "packages" in path]


def test_a_fifo_among_the_files_holds_nobody_up(prefix: Path) -> None:
    os.mkfifo(prefix / "lib" / "python3.12" / "lib-dynload" / "fifo.so")
    assert not [path for path, _ in looked(client(prefix)).files if "fifo" in path]


def test_a_python_that_cannot_be_copied_says_why(prefix: Path) -> None:
    def why(python: ClientPython) -> str:
        found = look_at_prefix(python)
        assert isinstance(found, Declined)
        return found.why

    assert "not below its prefix" in why(replace(client(prefix), stdlib_dirs=()))
    assert "not below its prefix" in why(replace(client(prefix), base_prefix=str(prefix / "bin")))
    assert "no place of its own" in why(replace(client(prefix), base_prefix=str(prefix.parent)))
    (prefix / "bin" / "python3.12").write_text("#!/bin/sh\n", encoding="utf-8")
    assert "no program that runs on its own" in why(client(prefix))
    (prefix / "bin" / "python3.12").unlink()
    assert "cannot be read" in why(client(prefix))


def test_an_interpreter_that_does_not_run_gives_way_and_leaves_nothing(prefix: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    source = Source(builds=lambda *_: Declined("a standalone build", "there is none"))

    async def main() -> None:
        blobs = MemoryBlobs()
        means = Means(blobs=blobs, scratch=scratch, client=client(prefix), source=source)
        await give_python(Wanted(minor="3.12"), [await tree(blobs, glibc())], means)

    with pytest.raises(
        PythonUnavailable, match=r"bin/python3\.12 (does not run|could not compile its library)"
    ):
        asyncio.run(main())
    assert list(scratch.iterdir()) == []
    scratch.rmdir()
    with pytest.raises(StateDirectoryError):
        asyncio.run(main())
