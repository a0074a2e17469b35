"""Client: images in registries, fetched and sent, every byte of them verified by its digest."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from squall.blobs.digest import Digest, digest_of
from squall.images.registry import pull, push
from squall.images.registry.access import Keys
from squall.images.registry.complaint import Unsound, answer_wrong, told
from squall.images.registry.credentials import Keychain
from squall.images.registry.head import length_of, media_type, next_page
from squall.images.registry.location import Location, parse_location
from squall.images.registry.nouns import MANIFEST_TYPES, ManifestBytes, RemoteBlob, RemoteManifest
from squall.images.registry.reference import Reference, from_wire_form
from squall.images.registry.session import Answer, Session, about
from squall.images.registry.settings import RegistrySettings

T = TypeVar("T")

MOST_MANIFEST: Final = 4 << 20  # bytes; what the protocol lets a registry refuse to take

ACCEPT: Final = (("Accept", ", ".join(MANIFEST_TYPES)),)

_MOST_SESSIONS: Final = 64
_MOST_PAGES: Final = 100
_MOST_TAGS: Final = 100_000


class RegistryClient:
    """Fetches from and sends to any registry.

    Memory stays bounded, whatever a registry sends: a manifest has at most MOST_MANIFEST bytes, a blob comes in parts.
    keys: where credentials come from (None: the files of Docker and of the containers tools). environ: for proxies,
    certificates and those files.

    Every method raises RegistryAccessDenied, RegistryNotFound, RegistryUnreachable (after `Patience.tries` tries),
    RegistryRateLimited, RegistryAnswerWrong, and InvalidError for settings of the machine that make no sense.
    """

    def __init__(
        self,
        settings: RegistrySettings | None = None,
        keys: Keys | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings or RegistrySettings()
        self._environ = dict(os.environ if environ is None else environ)
        self._keys = keys or Keychain(self._environ)
        self._sessions: dict[str, Session] = {}

    async def head_manifest(self, image: Reference) -> RemoteManifest:
        """What the registry says of a manifest, without fetching it where it need not be: nothing of it is verified."""
        question = about(image, "HEAD", f"manifests/{image.wanted}", doing="asked for the manifest of")
        question = replace(question, headers=ACCEPT)
        answer = await self._session(image).ask(question)
        answer.must(question, 200)
        digest = from_wire_form(answer.head.get("docker-content-digest") or "")
        size = length_of(answer.head)
        if digest is None or size is None:
            whole = await self.manifest(image)
            return RemoteManifest(media_type=whole.media_type, digest=whole.digest, size=len(whole.data))
        if image.digest not in {None, digest}:
            raise answer_wrong(question.where, "it says another digest than it was asked for")
        return RemoteManifest(media_type=media_type(answer.head), digest=digest, size=size)

    async def manifest(self, image: Reference) -> ManifestBytes:
        """The manifest that the digest of `image` names, or else its tag. Also an index or list, as it is kept."""
        question = about(image, "GET", f"manifests/{image.wanted}", doing="asked for the manifest of")
        question = replace(question, headers=ACCEPT)
        answer = await self._session(image).ask(question, most=MOST_MANIFEST)
        answer.must(question, 200)
        digest = digest_of(answer.body)
        said = from_wire_form(answer.head.get("docker-content-digest") or "")
        for wanted in (image.digest, said):
            if wanted not in {None, digest}:
                raise answer_wrong(
                    question.where, f"its manifest has the digest {digest}, and {wanted} was wanted"
                )
        return ManifestBytes(media_type=media_type(answer.head), digest=digest, data=answer.body)

    async def has_blob(self, image: Reference, digest: Digest) -> bool:
        """Whether the repository of `image` has this blob."""
        return await push.has_blob(self._session(image), image, digest)

    def blob(self, image: Reference, blob: RemoteBlob) -> AsyncIterator[bytes]:
        """The blob in parts of at most 64 KiB; the last is given once digest and size are known to be right.

        A broken connection is taken up where it broke. Whoever stops before the end closes the iterator (`aclosing`).
        """
        return pull.blob(self._session(image), image, blob)

    async def fetch_many(
        self,
        image: Reference,
        blobs: Iterable[RemoteBlob],
        take: Callable[[RemoteBlob, AsyncIterator[bytes]], Awaitable[T]],
    ) -> dict[RemoteBlob, T]:
        """What `take` gives for each blob and its parts, `RegistrySettings.at_once` of them at a time.

        What `take` has read to the end was verified. The first failure ends the others, and is raised.
        """
        return await pull.many(self._session(image), image, blobs, take)

    async def push_blob(
        self,
        image: Reference,
        blob: RemoteBlob,
        source: Callable[[], AsyncIterable[bytes]],
        *,
        from_repository: str | None = None,
        chunked: bool = False,
    ) -> bool:
        """Has the repository keep a blob; False where it had it already, or took it over from `from_repository`.

        source: begins anew with each call, since a broken upload does. chunked: in pieces of
        `RegistrySettings.chunk_bytes`, for registries and proxies that refuse long requests. Raises RegistryRefused,
        and DigestMismatch, with nothing kept, where the source gives other bytes than `blob` names.
        """
        upload = push.Upload(
            image=image, blob=blob, source=source, mount_from=from_repository, chunked=chunked
        )
        return await push.push_blob(self._session(image), upload)

    async def push_manifest(self, image: Reference, data: bytes, media_type: str) -> Digest:
        """The digest of a manifest, once the registry keeps it under the tag of `image`, or else under its digest.

        What it names must be there already. Raises RegistryRefused, DigestMismatch.
        """
        return await push.push_manifest(self._session(image), image, data, media_type)

    async def tags(self, image: Reference) -> list[str]:
        """The tags of the repository, in the registry's order; at most 100 000, over at most 100 pages."""
        session = self._session(image)
        question = about(image, "GET", "tags/list?n=1000", doing="asked for the tags of")
        found: list[str] = []
        for _ in range(_MOST_PAGES):
            answer = await session.ask(question)
            answer.must(question, 200)
            with told(question.where):
                found += _tags_in(answer)
                more = _next_page(answer)
            if more is None:
                return found
            if len(found) > _MOST_TAGS or more.origin != session.base.origin:
                break
            question = replace(question, at=more)
        raise answer_wrong(question.where, "its list of tags does not end, or goes on elsewhere")

    def _session(self, image: Reference) -> Session:
        session = self._sessions.get(image.registry)
        if session is None:
            base = self._settings.base_of(image)
            session = Session(base, self._settings, self._keys, self._environ)
            while len(self._sessions) >= _MOST_SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
            self._sessions[image.registry] = session
        return session


def _tags_in(answer: Answer) -> list[str]:
    try:
        tags = json.loads(answer.body)["tags"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise Unsound("it is no list of tags") from None
    # A repository without any has null there.
    if not isinstance(tags, list | None) or not all(isinstance(tag, str) for tag in tags or ()):
        raise Unsound("it is no list of tags")
    return tags or []


def _next_page(answer: Answer) -> Location | None:
    more = next_page(answer.head)
    try:
        return parse_location(more, answer.at) if more is not None else None
    except ValueError as error:
        raise Unsound(f"its list goes on at {error}") from None
