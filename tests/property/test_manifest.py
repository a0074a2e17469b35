from __future__ import annotations

from hypothesis import given, settings, strategies as st

from squall.blobs.manifest import Entry, Manifest
from squall.blobs.manifest_bytes import Reader, Writer, decode, encode, manifest_digest
from squall.model.errors import TreeInvalid
from tests.property.manifests import layers


@given(layers)
@settings(deadline=None)
def test_a_manifest_survives_its_bytes(manifest: Manifest) -> None:
    assert decode(encode(manifest)) == manifest
    assert encode(manifest).isascii()


@given(layers, layers)
@settings(deadline=None)
def test_two_manifests_have_one_digest_only_if_they_are_one(one: Manifest, other: Manifest) -> None:
    assert (manifest_digest(one) == manifest_digest(other)) == (one == other)


@given(layers, st.data())
@settings(deadline=None)
def test_in_parts_it_is_read_and_written_as_in_one(manifest: Manifest, data: st.DataObject) -> None:
    writer = Writer()
    raw = writer.head + b"".join(writer.line(entry) for entry in manifest.entries)
    writer.end()
    assert raw == encode(manifest)
    reader = Reader()
    read: list[Entry] = []
    while raw:
        length = data.draw(st.integers(1, len(raw)))
        read += reader.feed(raw[:length])
        raw = raw[length:]
    reader.end()
    assert Manifest(tuple(read)) == manifest


@given(layers, st.data())
@settings(deadline=None)
def test_any_changed_byte_is_noticed_or_another_manifest(manifest: Manifest, data: st.DataObject) -> None:
    raw = bytearray(encode(manifest))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(raw)
    except TreeInvalid:
        return
    assert other != manifest
    assert encode(other) == raw


@given(layers, st.integers(0, 60), st.integers(0, 60))
@settings(deadline=None)
def test_lines_in_another_order_are_refused(manifest: Manifest, one: int, other: int) -> None:
    head, *lines = encode(manifest).splitlines(keepends=True)
    one, other = one % len(lines), other % len(lines)
    if one == other:
        return
    lines[one], lines[other] = lines[other], lines[one]
    try:
        decode(head + b"".join(lines))
    except TreeInvalid:
        return
    raise AssertionError("it was taken")


@given(st.binary(max_size=60))
def test_whatever_comes_is_read_or_refused(raw: bytes) -> None:
    for data in (raw, b'["squall-manifest",1]\n' + raw):
        try:
            assert encode(decode(data)) == data
        except TreeInvalid:
            continue
