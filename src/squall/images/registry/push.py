"""Push: blobs and manifests into a registry."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

from squall.blobs.digest import Digest, Digester, digest_of
from squall.images.registry.complaint import NotNow, Unsound, answer_wrong, told
from squall.images.registry.exchange import PART_BYTES, Sent
from squall.images.registry.head import Head
from squall.images.registry.location import Location
from squall.images.registry.nouns import RemoteBlob
from squall.images.registry.reference import Reference, from_wire_form, wire_form
from squall.images.registry.session import Answer, Question, Session, Tries, about, located, scope
from squall.model.errors import DigestMismatch

_BYTES: Final = ("Content-Type", "application/octet-stream")
_MOST_CHUNK: Final = (
    64 << 20
)  # a registry may ask for larger chunks than ours, though not for all of our memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A blob to be kept: see `RegistryClient.push_blob`."""

    image: Reference
    blob: RemoteBlob
    source: Callable[[], AsyncIterable[bytes]]
    mount_from: str | None = None
    chunked: bool = False


async def has_blob(session: Session, image: Reference, digest: Digest, scopes: tuple[str, ...] = ()) -> bool:
    """Whether the repository has this blob. Raises the errors of registries."""
    path = f"blobs/{wire_form(digest)}"
    question = about(image, "HEAD", path, doing="asked for a blob of", scopes=scopes)
    answer = await session.ask(question)
    if answer.status == 404:
        return False
    answer.must(question, 200)
    return True


async def push_blob(session: Session, upload: Upload) -> bool:
    """Whether the blob was sent: not where the registry has it, or takes it over from another repository.

    A broken upload begins anew. Raises DigestMismatch, and the errors of registries.
    """
    may = (scope(upload.image.repository, "pull,push"),)
    if await has_blob(session, upload.image, upload.blob.digest, may):
        return False
    question = about(upload.image, "POST", "blobs/uploads/", doing="asked to take a blob into", scopes=may)
    tries = Tries(session.settings.patience, question.where)
    while True:
        try:
            with told(question.where):
                return await _sent(session, upload, question)
        except NotNow as not_now:
            await tries.after(not_now)


async def push_manifest(session: Session, image: Reference, data: bytes, media_type: str) -> Digest:
    """The manifest's digest, once the registry keeps it. Raises DigestMismatch, and the errors of registries."""
    digest = digest_of(data)
    if image.digest not in {None, digest}:
        raise DigestMismatch(
            f"the manifest has the digest {digest}, and is to be kept as {image.digest}",
            announced=image.digest,
            arrived=digest,
        )
    question = about(
        image,
        "PUT",
        f"manifests/{image.tag or wire_form(digest)}",
        doing="asked to take a manifest into",
        scopes=(scope(image.repository, "pull,push"),),
    )
    question = replace(question, headers=(("Content-Type", media_type),), body=Sent.whole(data))
    answer = await session.ask(question)
    answer.must(question, 201)
    said = from_wire_form(answer.head.get("docker-content-digest") or "")
    if said not in {None, digest}:
        raise answer_wrong(question.where, f"it keeps the manifest {digest} as {said}")
    return digest


async def _sent(session: Session, upload: Upload, question: Question) -> bool:
    start = await _started(session, upload, question)
    if start is None:
        return False
    if upload.chunked:
        await _in_chunks(session, upload, question, start)
    else:
        body = Sent(upload.blob.size, lambda: _verified(upload))
        await _finish(session, upload, replace(question, at=located(start), headers=(_BYTES,), body=body))
    return True


async def _started(session: Session, upload: Upload, question: Question) -> Answer | None:
    """The answer that begins an upload, or None where the blob was taken over from another repository."""
    if upload.mount_from is not None:
        query = urlencode({"mount": wire_form(upload.blob.digest), "from": upload.mount_from})
        mount = replace(
            question,
            target=f"{question.target}?{query}",
            scopes=(*question.scopes, scope(upload.mount_from, "pull")),
        )
        answer = await session.ask_once(mount)
        if answer.status == 201:
            return None
        if answer.status == 202:
            return answer
        # It may not, or does not know how: the bytes are sent.
    answer = await session.ask_once(question)
    answer.must(question, 202)
    return answer


async def _in_chunks(session: Session, upload: Upload, question: Question, start: Answer) -> None:
    size = _chunk_size(start.head, session.settings.chunk_bytes)
    at = located(start)
    sent = 0
    async with contextlib.aclosing(_chunks(_verified(upload), size)) as chunks:
        async for chunk in chunks:
            place = ("Content-Range", f"{sent}-{sent + len(chunk) - 1}")
            part = replace(question, method="PATCH", at=at, headers=(_BYTES, place), body=Sent.whole(chunk))
            answer = await session.ask_once(part)
            answer.must(part, 202)
            sent += len(chunk)
            _check_kept(answer.head, sent)
            at = located(answer)
    await _finish(session, upload, replace(question, at=at))


async def _finish(session: Session, upload: Upload, question: Question) -> None:
    """Puts the end to an upload, with the bytes or after them, and has the registry verify it."""
    assert question.at is not None
    question = replace(question, method="PUT", at=_with_digest(question.at, upload.blob.digest))
    answer = await session.ask_once(question)
    answer.must(question, 201)
    said = from_wire_form(answer.head.get("docker-content-digest") or "")
    if said not in {None, upload.blob.digest}:
        raise Unsound(f"it keeps the blob {upload.blob.digest} as {said}")


def _with_digest(at: Location, digest: Digest) -> Location:
    mark = "&" if "?" in at.target else "?"
    return replace(at, target=f"{at.target}{mark}{urlencode({'digest': wire_form(digest)})}")


def _chunk_size(head: Head, ours: int) -> int:
    least = head.get("oci-chunk-min-length") or ""
    return (
        max(ours, min(int(least), _MOST_CHUNK))
        if least.isascii() and least.isdigit() and len(least) < 18
        else ours
    )


def _check_kept(head: Head, sent: int) -> None:
    """A registry that lost a part would only be found out at the end."""
    kept = head.get("range")
    if kept is not None and kept.removeprefix("bytes=") != f"0-{sent - 1}":
        raise NotNow(f"of {sent} bytes sent it keeps others")


async def _chunks(parts: AsyncGenerator[bytes, None], size: int) -> AsyncGenerator[bytes, None]:
    """The same bytes in pieces of `size`, but for the last."""
    gathered = bytearray()
    async with contextlib.aclosing(parts):
        async for part in parts:
            gathered += part
            while len(gathered) >= size:
                yield bytes(gathered[:size])
                del gathered[:size]
    if gathered:
        yield bytes(gathered)


async def _verified(upload: Upload) -> AsyncGenerator[bytes, None]:
    """The source's bytes in small parts; the last only once all are those that the blob names. Raises DigestMismatch."""
    digester = Digester()
    held = b""
    source = upload.source()
    try:
        async for large in source:
            for start in range(0, len(large), PART_BYTES):
                part = bytes(large[start : start + PART_BYTES])
                digester.update(part)
                if digester.size > upload.blob.size:
                    raise _other_bytes(upload, digester)
                if held:
                    yield held
                held = part
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()
    if digester.size != upload.blob.size or digester.digest() != upload.blob.digest:
        raise _other_bytes(upload, digester)
    if held:
        yield held


def _other_bytes(upload: Upload, came: Digester) -> DigestMismatch:
    return DigestMismatch(
        f"{upload.blob.size} bytes were announced as {upload.blob.digest}, and the source gives others",
        announced=upload.blob.digest,
        arrived=came.digest(),
    )
