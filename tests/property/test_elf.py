from __future__ import annotations

import struct
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from squall.images.python.elf import Elf, newest_glibc, read_elf
from tests.property.elves import elf_file

names = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters=":"), min_size=1, max_size=30
)
versions = st.lists(names, max_size=4).map(tuple)
elves = st.builds(
    Elf,
    machine=st.sampled_from(["x86_64", "aarch64"]),
    interpreter=st.none() | st.text("/lib64-.so", max_size=30),
    soname=st.none() | names,
    needed=versions,
    rpath=versions,
    runpath=st.just(True),
    requires=st.lists(st.tuples(names, versions), max_size=3).map(tuple),
    defines=versions,
).map(lambda elf: elf if elf.rpath else replace(elf, runpath=False))


@given(elves)
@settings(deadline=None)
def test_what_a_file_says_is_read(elf: Elf) -> None:
    assert read_elf(elf_file(elf)) == elf


@given(elves, st.data())
@settings(deadline=None)
def test_a_file_that_is_cut_off_or_changed_anywhere_is_read_or_refused_and_never_raises(
    elf: Elf, data: st.DataObject
) -> None:
    raw = bytearray(elf_file(elf))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + 8] = data.draw(st.binary(min_size=1, max_size=8))
    cut = data.draw(st.integers(0, len(raw)))
    for tampered in (bytes(raw), bytes(raw[:cut])):
        found = read_elf(tampered)
        assert found is None or isinstance(found, Elf)


@given(st.binary(max_size=600))
@settings(deadline=None)
def test_any_bytes_behind_the_right_beginning_are_read_or_refused(data: bytes) -> None:
    assert read_elf(data) is None
    head = elf_file(Elf(machine="x86_64"))[:64]
    found = read_elf(head + data)
    assert found is None or isinstance(found, Elf)


def tampered_with(elf: Elf, tag: int, value: int) -> bytes:
    """The file of `elf`, in which this tag says `value`."""
    raw = elf_file(elf)
    at = raw.index(tag.to_bytes(8, "little"))
    return raw[: at + 8] + value.to_bytes(8, "little") + raw[at + 16 :]


@pytest.mark.parametrize("versions", [("B",), ()])
@pytest.mark.parametrize("count", [0x6FFFFFFD, 0x6FFFFFFF])
def test_tables_that_lead_back_to_themselves_end(count: int, versions: tuple[str, ...]) -> None:
    # So many of them, each "the next one lies 0 bytes further".
    elf = Elf(machine="x86_64", defines=("A",), requires=(("lib", versions),), needed=("lib",))
    tracemalloc.start()
    try:
        assert read_elf(tampered_with(elf, count, 1 << 62)) is None
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_name_outside_the_table_of_names_is_none() -> None:
    elf = Elf(machine="x86_64", needed=("liba.so", "libb.so"))
    size = 10
    assert read_elf(tampered_with(elf, size, 9)) is None, "the second begins at 9, where this table ends"
    assert read_elf(tampered_with(elf, size, 17)) == elf


def test_a_version_that_may_be_missing_is_not_required() -> None:
    elf = Elf(machine="x86_64", requires=(("lib", ("NEEDED", "MAY_MISS")),))
    raw = bytearray(elf_file(elf))
    table = raw.index(struct.pack("<HH", 1, 2), 64 + 2 * 56)
    flags = table + 16 + 16 + 4  # of the second version
    assert raw[flags] == 0
    raw[flags] = 2
    found = read_elf(bytes(raw))
    assert found is not None
    assert found.requires == (("lib", ("NEEDED",)),)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1))
def test_the_newest_glibc_is_the_highest_number(numbers: list[tuple[int, int]]) -> None:
    written = tuple(f"GLIBC_{major}.{minor}" for major, minor in numbers)
    assert newest_glibc((*written, "GLIBC_PRIVATE", "GLIBC_ABI_DT_RELR", "OPENSSL_99.0")) == max(numbers)
    assert newest_glibc(("GLIBC_PRIVATE", "GLIBC_x.2", "GLIBC_")) is None
