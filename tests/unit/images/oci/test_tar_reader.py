from __future__ import annotations

import tarfile
from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st

from squall.images.oci.limits import Limits
from squall.images.oci.tar_member import Kind, Member
from squall.images.oci.tar_reader import TarReader
from squall.model.errors import LayerInvalid, LayerTooLarge
from tests.unit.images.oci.archives import END, archive, entry, header, info, records

FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def read(data: bytes, *, step: int = 0, limits: Limits | None = None) -> list[tuple[Member, bytes]]:
    """The entries of an archive with their bytes. step: how many bytes come at once; 0: all of them."""
    reader = TarReader(limits) if limits else TarReader()
    found: list[tuple[Member, bytes]] = []
    for at in range(0, len(data), step or max(1, len(data))):
        for one in reader.feed(data[at : at + (step or len(data))]):
            if isinstance(one, Member):
                found.append((one, b""))
            else:
                found[-1] = (found[-1][0], found[-1][1] + bytes(one))
    reader.end()
    return found


_names = st.one_of(
    st.sampled_from(["a", "é", "\udcff", "a b", "n" * 99, "n" * 100]),
    st.text("abé/\udcff", min_size=1, max_size=12).filter(lambda name: not name.endswith("/")),
)
_long_names = st.one_of(_names, st.sampled_from(["n" * 101, "d/" * 60 + "é", "n" * 255, "é" * 90]))


def _members(form: str) -> st.SearchStrategy[list[tuple[tarfile.TarInfo, bytes]]]:
    ustar = form == "ustar"
    names = _names if ustar else _long_names
    small, large = 0o7777777, 0xFFFF_FFFE
    times: st.SearchStrategy[float] = st.integers(0, 2_000_000_000)
    if form == "gnu":
        times = st.integers(-2_000_000_000, 1 << 40)
    if form == "pax":
        times = st.one_of(times, st.sampled_from([0.5, 1.25, -1.5, 1e9 + 0.125]))

    def member(
        kind: bytes, name: str, data: bytes, numbers: tuple[int, int, int, float], target: str
    ) -> tuple[tarfile.TarInfo, bytes]:
        made = info(name, kind, mode=numbers[0])
        made.uid, made.gid, made.mtime = numbers[1], numbers[2], numbers[3]
        made.linkname = target if kind in {tarfile.LNKTYPE, tarfile.SYMTYPE} else ""
        return made, data if kind == tarfile.REGTYPE else b""

    numbers = st.tuples(
        st.sampled_from([0, 0o644, 0o4755, 0o7777]),
        st.integers(0, small if ustar else large),
        st.integers(0, small if ustar else large),
        times,
    )
    kinds = st.sampled_from(
        [
            tarfile.REGTYPE,
            tarfile.DIRTYPE,
            tarfile.SYMTYPE,
            tarfile.LNKTYPE,
            tarfile.FIFOTYPE,
            tarfile.CHRTYPE,
        ]
    )
    data = st.one_of(st.binary(max_size=30), st.sampled_from([bytes(511), bytes(512), bytes(513)]))
    return st.lists(st.builds(member, kinds, names, data, numbers, names), max_size=6)


@pytest.mark.parametrize("form", FORMS)
@given(drawn=st.data(), step=st.sampled_from([0, 1, 511, 512, 700]))
@settings(deadline=None, max_examples=80)
def test_what_the_standard_library_writes_is_read(form: str, drawn: st.DataObject, step: int) -> None:
    members = drawn.draw(_members(form))
    found = read(archive(members, form=FORMS[form]), step=step)
    assert len(found) == len(members)
    for (member, data), (said, written) in zip(found, members, strict=True):
        name = said.name + ("/" if said.isdir() else "")
        assert member.name == name.encode("utf-8", "surrogateescape")
        assert member.kind.value == said.type
        assert (member.mode, member.uid, member.gid) == (said.mode, said.uid, said.gid)
        assert member.mtime_ns == int(Fraction(said.mtime) * 1_000_000_000)
        assert data == written
        assert member.size == len(written)
        if said.linkname:
            assert member.target == said.linkname.encode("utf-8", "surrogateescape")


def test_records_say_attributes_and_ends_of_seconds() -> None:
    said = [
        (b"path", b"d/" * 200 + b"f"),
        (b"mtime", b"-0.000000001"),
        (b"uid", b"4000000000"),
        (b"SCHILY.xattr.user.a", b"1\n2=3\0"),
        (b"SCHILY.xattr.user.none", b""),
        (b"comment", b"nothing"),
    ]
    ((member, data),) = read(records(said) + entry(b"short", b"data") + END)
    assert (member.name, member.mtime_ns, member.uid) == (b"d/" * 200 + b"f", -1, 4_000_000_000)
    assert member.xattrs == ((b"user.a", b"1\n2=3\0"), (b"user.none", b""))
    assert data == b"data"


def test_a_size_in_the_records_is_the_one_that_counts() -> None:
    head = records([(b"size", b"600")]) + header(b"f", size=0)
    ((member, data),) = read(head + bytes(1024) + END)
    assert (member.size, len(data)) == (600, 600)


def test_numbers_of_base_256_are_read() -> None:
    block = bytearray(header(b"f"))
    block[136:148] = b"\xff" * 12
    block[108:116] = b"\x80\0\0\0\xff\xff\xff\xfe"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    ((member, _),) = read(bytes(block) + END)
    assert (member.mtime_ns, member.uid) == (-1_000_000_000, 0xFFFF_FFFE)


def test_the_oldest_archives_say_a_directory_by_its_slash() -> None:
    found = read(entry(b"d/", letter=b"\0") + entry(b"f", letter=b"\0") + END)
    assert [member.kind for member, _ in found] == [Kind.DIRECTORY, Kind.FILE]


def test_what_has_no_bytes_has_none_whatever_its_header_says() -> None:
    linked = header(b"l", b"2", size=512, target=b"t")
    found = read(linked + entry(b"f", b"x") + END)
    assert [(member.name, data) for member, data in found] == [(b"l", b""), (b"f", b"x")]


@pytest.mark.parametrize("data", [b"", END, bytes(512), END + b"whatever comes behind"])
def test_an_archive_may_be_empty(data: bytes) -> None:
    assert read(data) == []


@pytest.mark.parametrize(
    "data",
    [
        header(b"f", size=1),
        header(b"f", size=1) + bytes(511),
        header(b"f")[:-1],
        records([(b"path", b"x")]),
        records([(b"path", b"x")])[:600],
        b"\0" * 511 + b"x",
        b"x" * 512,
        bytes(512) + entry(b"f") + END,
        records([(b"path", b"x")]) + records([(b"path", b"y")]) + entry(b"f") + END,
        records([(b"path", b"x")]) + entry(b"L", b"long\0", b"L") + entry(b"f") + END,
        records([(b"path", b"x")], b"g") + entry(b"f") + END,
        records([(b"SCHILY.xattr.user.a", b"x")], b"g") + entry(b"f") + END,
        records([(b"uid", b"1_000")]) + entry(b"f") + END,
        records([(b"uid", b"0x1")]) + entry(b"f") + END,
        records([(b"mtime", b"nan")]) + entry(b"f") + END,
        records([(b"size", b"-1")]) + entry(b"f") + END,
        records([(b"size", b"9" * 19)]) + entry(b"f") + END,
        entry(b"x", b"5 a=b\n", b"x") + entry(b"f") + END,
        entry(b"x", b"06 a=b\n", b"x") + entry(b"f") + END,
        entry(b"x", b"6 a=b ", b"x") + entry(b"f") + END,
        entry(b"x", b"99999999999 a=b\n", b"x") + entry(b"f") + END,
        entry(b"x", b"5 a_b\n", b"x") + entry(b"f") + END,
        header(b"x", b"x", size=1 << 21),
        header(b"x", b"L", size=1 << 21),
        header(b"f", b"V") + END,
        header(b"f", b"M") + END,
        header(b"f", b"S", size=0) + END,
        records([(b"GNU.sparse.major", b"1")]) + entry(b"f") + END,
        records([(b"GNU.sparse.map", b"0,1")]) + entry(b"f") + END,
    ],
)
def test_what_is_damaged_or_read_in_different_ways_is_refused(data: bytes) -> None:
    with pytest.raises(LayerInvalid):
        read(data)


def test_a_sparse_file_is_refused_by_name() -> None:
    with pytest.raises(LayerInvalid, match="'huge' is stored as a sparse file"):
        read(header(b"huge", b"S") + END)


def test_comments_for_the_whole_archive_are_passed_over() -> None:
    assert [m.name for m, _ in read(records([(b"comment", b"a commit")], b"g") + entry(b"f") + END)] == [b"f"]


@given(st.binary(max_size=2000), st.sampled_from([1, 100, 2000]))
@settings(deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes, step: int) -> None:
    try:
        read(data, step=step)
    except (LayerInvalid, LayerTooLarge):
        pass


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_any_change_of_an_archive_is_read_or_refused(drawn: st.DataObject) -> None:
    data = bytearray(archive([(info("d/é" + "n" * 120), b"data"), (info("l", b"2", target="t" * 120), b"")]))
    for _ in range(drawn.draw(st.integers(1, 4))):
        data[drawn.draw(st.integers(0, len(data) - 1))] = drawn.draw(st.integers(0, 255))
    try:
        read(bytes(data))
    except (LayerInvalid, LayerTooLarge):
        pass


def test_entries_and_bytes_are_counted() -> None:
    three = entry(b"a") + entry(b"b") + entry(b"c")
    assert len(read(three + END, limits=Limits(entries=3))) == 3
    with pytest.raises(LayerTooLarge, match=r"more than 2 entries.*'c'"):
        read(three + END, limits=Limits(entries=2))
    # Each byte counts, those behind the end too.
    with pytest.raises(LayerTooLarge, match="more than 4000 bytes"):
        read(END + bytes(4000), limits=Limits(unpacked_bytes=4000))
