"""Reference: the name of an image in a registry, as users write it. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from squall.blobs.digest import Digest, is_digest
from squall.model.errors import InvalidError

DEFAULT_REGISTRY: Final = "docker.io"
DEFAULT_TAG: Final = "latest"

_DEFAULT_ENDPOINT: Final = "registry-1.docker.io"
_ALIASES: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_OFFICIAL: Final = "library"  # where the default registry keeps images whose name has one part

_LONGEST: Final = 2_048
_LONGEST_REPOSITORY: Final = 255
_ALGORITHM: Final = "sha256:"
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PART = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_REMEDY: Final = "write it as NAME, NAME:TAG, NAME@sha256:DIGEST or HOST[:PORT]/NAME:TAG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An image in a registry.

    registry: host, with a port where one was given, in small letters. repository: the parts of the name, joined by
    "/". tag or digest is there, or both; then the digest says which image is meant. Made by `parse_reference`.
    """

    registry: str
    repository: str
    tag: str | None
    digest: Digest | None

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}{f':{self.tag}' if self.tag else ''}" + (
            f"@{_ALGORITHM}{self.digest}" if self.digest else ""
        )

    @property
    def endpoint(self) -> str:
        """The host (and port) that answers for the registry: the default one has another name than its images."""
        return _DEFAULT_ENDPOINT if self.registry == DEFAULT_REGISTRY else self.registry

    @property
    def wanted(self) -> str:
        """What a registry is asked for: the digest in its form on the wire, or else the tag."""
        return wire_form(self.digest) if self.digest else self.tag or DEFAULT_TAG


def parse_reference(text: str) -> Reference:
    """What `text` names: without a host it is in the default registry, without tag and digest its tag is "latest".

    Raises InvalidError, which says what is wrong with which part.
    """
    _check_whole(text)
    name, at, digest_text = text.partition("@")
    digest = _digest(text, digest_text) if at else None
    host, path = _split_host(name)
    # A colon in the host is before a port, and the host is gone from `path`.
    path, colon, tag_text = path.partition(":")
    tag = _tag(text, tag_text) if colon else None
    registry = _registry(text, host) if host is not None else DEFAULT_REGISTRY
    repository = _repository(text, path)
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"{_OFFICIAL}/{repository}"
    if len(repository) > _LONGEST_REPOSITORY:
        raise _wrong(
            text, f"the repository has {len(repository)} characters, and may have {_LONGEST_REPOSITORY}"
        )
    return Reference(
        registry=registry,
        repository=repository,
        tag=tag or (None if digest else DEFAULT_TAG),
        digest=digest,
    )


def wire_form(digest: Digest) -> str:
    """A digest as registries write it, with its algorithm."""
    return _ALGORITHM + digest


def from_wire_form(text: str) -> Digest | None:
    """The digest that a registry wrote, or None for another algorithm or no digest at all."""
    digits = text.removeprefix(_ALGORITHM)
    return Digest(digits) if text.startswith(_ALGORITHM) and is_digest(digits) else None


def _check_whole(text: str) -> None:
    if not text:
        raise _wrong(text, "it is empty")
    if len(text) > _LONGEST:
        raise _wrong(text, f"it has {len(text)} characters, and may have {_LONGEST}")
    strange = next((letter for letter in text if not "!" <= letter <= "~"), None)
    if strange is not None:
        raise _wrong(
            text, f"it has the character {strange!a}, and only printable ASCII without spaces may stand there"
        )
    scheme, mark, rest = text.partition("://")
    if mark:
        raise _wrong(
            text,
            f"it begins with {scheme + mark!a}, and a name has no scheme",
            remedy=f"leave it out: {rest[:80]}",
        )
    if is_digest(text):
        raise _wrong(text, "these 64 digits are the id of an image on one machine, which no registry knows")


def _split_host(name: str) -> tuple[str | None, str]:
    """The host, or None where the first part of the name is none: without dot, colon or bracket it is a part of the path."""
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or any(mark in first for mark in ".:[]")):
        return first, rest
    return None, name


def _registry(text: str, host: str) -> str:
    host = host.lower()
    if host.startswith("["):
        address, bracket, port = host[1:].partition("]")
        if not bracket:
            raise _wrong(text, f"the host {host!a} has a bracket that is not closed")
        try:
            name = f"[{ipaddress.IPv6Address(address)}]"
        except ValueError:
            raise _wrong(text, f"the host has {address!a} in brackets, which is no IPv6 address") from None
        if "%" in name:
            raise _wrong(text, "the host has a zone (%), which a registry's name may not have")
        if port and not port.startswith(":"):
            raise _wrong(
                text, f"the host {host!a} goes on after its bracket with something other than a port"
            )
    else:
        name, _, port = host.partition(":")
        port = host[len(name) :]
        _check_host_name(text, name)
    if port:
        name += _port(text, port[1:])
    return DEFAULT_REGISTRY if name in _ALIASES else name


def _check_host_name(text: str, name: str) -> None:
    if not name:
        raise _wrong(text, "the host before the port is missing")
    if len(name) > 253:
        raise _wrong(text, f"the host has {len(name)} characters, and may have 253")
    for label in name.split("."):
        if not _LABEL.fullmatch(label):
            raise _wrong(
                text,
                f"the host {name!a} has the part {label!a}, and a part is 1 to 63 letters, digits and inner hyphens",
            )
    if name.rpartition(".")[2].isdigit():
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            raise _wrong(text, f"the host {name!a} ends in a number and is no IPv4 address") from None


def _port(text: str, port: str) -> str:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65_535):
        raise _wrong(text, f"the port is {port!a}, and must be a number from 1 to 65535")
    return f":{int(port)}"


def _repository(text: str, path: str) -> str:
    if not path:
        raise _wrong(text, "the repository's name is missing")
    for part in path.split("/"):
        if part != part.lower():
            raise _wrong(
                text,
                f"the repository has capital letters in {part[:80]!a}",
                remedy="write it in small letters",
            )
        if not _PART.fullmatch(part):
            raise _wrong(
                text,
                f"the repository has the part {part[:80]!a}, and a part is small letters and digits,"
                " with single dots, one or two underscores or hyphens between them",
            )
    return path


def _tag(text: str, tag: str) -> str:
    if not tag:
        raise _wrong(text, "the tag after the colon is missing")
    if not _TAG.fullmatch(tag):
        raise _wrong(
            text,
            f"the tag is {tag[:140]!a}, and a tag is up to 128 letters, digits, dots, hyphens and underscores, and begins with"
            " neither dot nor hyphen",
        )
    return tag


def _digest(text: str, digest: str) -> Digest:
    found = from_wire_form(digest)
    if found is None:
        algorithm, colon, _ = digest.partition(":")
        if colon and algorithm != "sha256":
            raise _wrong(text, f"the digest is made with {algorithm[:40]!a}, and only sha256 is known here")
        raise _wrong(
            text,
            f"the digest is {digest[:90]!a}, and must be sha256: and 64 hexadecimal digits in small letters",
        )
    return found


def _wrong(text: str, why: str, *, remedy: str = _REMEDY) -> InvalidError:
    return InvalidError(f"{text[:200]!a} is no image of a registry: {why}", remedy=remedy)
