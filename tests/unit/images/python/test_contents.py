from __future__ import annotations

import pytest

from squall.blobs.manifest import Attributes, Directory, Entry, File, Hardlink, Manifest, Symlink, key
from squall.images.python.contents import MTIME_NS, belongs, laid


@pytest.mark.parametrize(
    "path",
    [
        "bin/python3.12",
        "bin/python3",
        "bin/python",
        "include/python3.12/Python.h",
        "include/python3.12/cpython/object.h",
        "lib/libpython3.12.so.1.0",
        "lib/python3.12/os.py",
        "lib64/python3.12/os.py",
        "lib/python3.12/asyncio/base_events.py",
        "lib/python3.12/lib-dynload/_ssl.cpython-312-x86_64-linux-gnu.so",
        "lib/python3.12/ensurepip/_bundled/pip-23.2.1-py3-none-any.whl",
        "lib/python3.12/config-3.12-x86_64-linux-gnu/Makefile",
        "lib/python3.12/_sysconfigdata__linux_x86_64-linux-gnu.py",
        "lib/python3.12/unittest/mock.py",
        "share/terminfo/x/xterm",
    ],
)
def test_what_runs_programs_and_builds_extensions_goes_in(path: str) -> None:
    assert belongs(path)


@pytest.mark.parametrize(
    "path",
    [
        "bin/pip3",
        "bin/idle3.12",
        "bin/python3.12-config",
        "include/openssl/ssl.h",
        "lib/libcrypto.so.3",
        "lib/tcl8.6/init.tcl",
        "lib/python3.12/site-packages/numpy/__init__.py",
        "lib/python3.12/test/test_os.py",
        "lib/python3.12/sqlite3/test/dump.py",
        "lib/python3.12/lib2to3/tests/data/bom.py",
        "lib/python3.12/idlelib/idle.py",
        "lib/python3.12/tkinter/__init__.py",
        "lib/python3.12/turtledemo/clock.py",
        "lib/python3.12/__pycache__/os.cpython-312.pyc",
        "lib/python3.12/os.pyc",
        "lib/python3.12/EXTERNALLY-MANAGED",
        "lib/python3.12/sitecustomize.py",
        "lib/python3.12/config-3.12-x86_64-linux-gnu/libpython3.12.a",
        "lib/python3.12/lib-dynload/_tkinter.cpython-312-x86_64-linux-gnu.so",
        "lib/python3.12/lib-dynload/_testcapi.cpython-312-x86_64-linux-gnu.so",
        "share/man/man1/python3.1",
        "etc/passwd",
        "",
        "lib",
    ],
)
def test_what_is_for_others_stays_behind(path: str) -> None:
    assert not belongs(path)


ANYBODYS = Attributes(
    mode=0o4777, uid=501, gid=20, mtime_ns=1_700_000_000 * 10**9, xattrs=(("user.mine", b"x"),)
)
LINK = Attributes(mode=0o777, uid=501)


def layered(*entries: Entry, base: dict[str, Attributes] | None = None) -> dict[str, Entry]:
    above = {
        path[:at]
        for path in (entry.path for entry in entries)
        for at, letter in enumerate(path + "/")
        if letter == "/" and at < len(path)
    }
    directories = [Directory(path=path, attributes=ANYBODYS) for path in {"", *above}]
    manifest = Manifest(tuple(sorted([*directories, *entries], key=key)))
    return {entry.path: entry for entry in laid(manifest, "python", base or {}).entries}


def test_all_of_it_is_roots_and_of_one_instant() -> None:
    found = layered(
        File(path="python/bin/python3.12", attributes=ANYBODYS),
        Symlink(path="python/bin/python3", attributes=LINK, target="python3.12"),
        File(path="python/lib/python3.12/os.py", attributes=Attributes(mode=0o664, uid=501)),
        File(path="python/lib/python3.12/test/no.py", attributes=ANYBODYS),
        File(path="elsewhere/bin/python3.12", attributes=ANYBODYS),
    )
    program, link = found["usr/local/bin/python3.12"], found["usr/local/bin/python3"]
    assert isinstance(program, File)
    assert program.attributes == Attributes(mode=0o755, mtime_ns=MTIME_NS)
    assert isinstance(link, Symlink)
    assert link.attributes == Attributes(mode=0o777, mtime_ns=MTIME_NS)
    source = found["usr/local/lib/python3.12/os.py"]
    assert isinstance(source, File)
    assert source.attributes.mode == 0o644
    assert isinstance(found["usr/local/lib/python3.12/site-packages"], Directory)
    assert not [path for path in found if "test" in path or "elsewhere" in path]


def test_directories_of_the_base_keep_what_they_have() -> None:
    kept = Attributes(mode=0o2775, gid=50)
    found = layered(File(path="python/bin/python3.12", attributes=ANYBODYS), base={"usr/local": kept})
    directory = found["usr/local"]
    assert isinstance(directory, Directory)
    assert directory.attributes == kept


def test_names_of_one_file_stay_together_or_go_together() -> None:
    found = layered(
        File(path="python/bin/idle3", attributes=ANYBODYS),
        Hardlink(path="python/bin/python3", first="python/bin/idle3"),
        File(path="python/lib/python3.12/a.py", attributes=ANYBODYS),
        Hardlink(path="python/lib/python3.12/b.py", first="python/lib/python3.12/a.py"),
    )
    assert "usr/local/bin/python3" not in found
    assert found["usr/local/lib/python3.12/b.py"] == Hardlink(
        path="usr/local/lib/python3.12/b.py", first="usr/local/lib/python3.12/a.py"
    )
