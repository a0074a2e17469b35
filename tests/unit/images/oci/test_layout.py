from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from squall.blobs.digest import digest_of
from squall.images.oci.layout import REF_NAME, Layout
from squall.images.oci.nouns import MAX_DOCUMENT_BYTES, OCI_MANIFEST, Descriptor, ImageIndex
from squall.model.errors import (
    DigestMismatch,
    Error,
    ImageDocumentInvalid,
    NotFoundError,
    StateDirectoryError,
)

pytestmark = pytest.mark.needs("linux")


async def in_parts(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 3):
        yield data[at : at + 3]


def made(place: Path, data: bytes = b"document") -> Descriptor:
    """A layout with one blob that its index names."""

    async def run() -> Descriptor:
        layout = await Layout.create(place)
        blob = await layout.put(in_parts(data), OCI_MANIFEST)
        named = Descriptor(
            media_type=blob.media_type, digest=blob.digest, size=blob.size, annotations={REF_NAME: "latest"}
        )
        await layout.name(ImageIndex(manifests=(named,)))
        layout.close()
        layout.close()
        return named

    return asyncio.run(run())


async def read(place: Path, descriptor: Descriptor) -> tuple[ImageIndex, bytes, bytes]:
    layout = await Layout.open(place)
    try:
        streamed = b"".join([part async for part in layout.stream(descriptor)])
        return await layout.index(), await layout.document(descriptor), streamed
    finally:
        layout.close()


def test_what_is_put_into_a_layout_is_read_from_it(tmp_path: Path) -> None:
    descriptor = made(tmp_path / "layout")
    assert descriptor.digest == digest_of(b"document")
    index, document, streamed = asyncio.run(read(tmp_path / "layout", descriptor))
    assert index.manifests == (descriptor,)
    assert document == streamed == b"document"
    left = sorted(
        path.relative_to(tmp_path / "layout").as_posix() for path in (tmp_path / "layout").rglob("*")
    )
    assert left == ["blobs", "blobs/sha256", f"blobs/sha256/{descriptor.digest}", "index.json", "oci-layout"]


def test_a_blob_whose_sender_fails_leaves_nothing(tmp_path: Path) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"some"
        raise ValueError("the sender went")

    async def run() -> None:
        layout = await Layout.create(tmp_path / "layout")
        with pytest.raises(ValueError, match="sender"):
            await layout.put(failing(), OCI_MANIFEST)
        layout.close()

    asyncio.run(run())
    assert list((tmp_path / "layout" / "blobs" / "sha256").iterdir()) == []


def replaced(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, tuple[Callable[[Path, Path], object], type[Error]]] = {
    "other bytes": (lambda _, blob: blob.write_bytes(b"documenx"), DigestMismatch),
    "more bytes": (lambda _, blob: blob.write_bytes(b"document!"), DigestMismatch),
    "far too many": (lambda _, blob: blob.write_bytes(bytes(MAX_DOCUMENT_BYTES + 1)), ImageDocumentInvalid),
    "no blob": (lambda _, blob: blob.unlink(), NotFoundError),
    "a link": (lambda _, blob: replaced(blob, "/etc/passwd"), NotFoundError),
    "a FIFO": (lambda _, blob: fifo(blob), NotFoundError),
    "an index that is a link": (lambda top, _: replaced(top / "index.json", "/etc/passwd"), NotFoundError),
    "an index of nothing": (lambda top, _: (top / "index.json").write_text("{}"), ImageDocumentInvalid),
    "no mark": (lambda top, _: (top / "oci-layout").unlink(), ImageDocumentInvalid),
    "a mark of words": (lambda top, _: (top / "oci-layout").write_text("words"), ImageDocumentInvalid),
    "another version": (
        lambda top, _: (top / "oci-layout").write_text('{"imageLayoutVersion":"9"}'),
        ImageDocumentInvalid,
    ),
    "blobs elsewhere": (
        lambda top, _: (top / "blobs").rename(top / "b").parent.joinpath("blobs").symlink_to("b"),
        ImageDocumentInvalid,
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_or_leads_out_is_refused(tmp_path: Path, damage: str) -> None:
    top = tmp_path / "layout"
    descriptor = made(top)
    change, refused = DAMAGES[damage]
    change(top, top / "blobs" / "sha256" / descriptor.digest)
    with pytest.raises(refused):
        asyncio.run(read(top, descriptor))


def test_a_layout_is_never_made_where_something_is(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(StateDirectoryError):
        made(tmp_path / "there")
    with pytest.raises(StateDirectoryError):
        asyncio.run(Layout.open(tmp_path / "nothing"))
    with pytest.raises(ImageDocumentInvalid, match="no image layout"):
        asyncio.run(Layout.open(tmp_path / "there"))
