"""The upgrade: the HTTP heads by which a connection becomes a WebSocket, or is refused."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from squall.model.errors import InvalidError, UpgradeRefused

PATH: Final = "/squall/v1"
PROTOCOL: Final = "squall.v1"
MAX_HEAD: Final = 16 * 1024
_END: Final = b"\r\n\r\n"
_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")
_REASONS: Final = {400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 426: "Upgrade Required"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpHead:
    """The first line of a request or an answer, and its fields, their names in small letters."""

    first: tuple[str, str, str]
    fields: Mapping[str, str]

    def has(self, name: str, word: str) -> bool:
        """Whether the comma-separated field `name` holds `word`, in letters of any size."""
        return word in (part.strip().lower() for part in self.fields.get(name, "").split(","))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request opens no WebSocket: an HTTP status, and the sentence that says so."""

    status: int
    sentence: str

    def answer(self) -> bytes:
        """What is sent back; the connection is closed behind it."""
        body = f"This is a Squall server. {self.sentence}\n".encode()
        lines = [
            f"HTTP/1.1 {self.status} {_REASONS[self.status]}",
            "Server: squall",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(["Upgrade: websocket", "Sec-WebSocket-Version: 13"] if self.status == 426 else []),
            *(["Allow: GET"] if self.status == 405 else []),
        ]
        return "\r\n".join(lines).encode() + _END + body


def split_head(data: bytes) -> tuple[bytes, bytes] | None:
    """The HTTP head that `data` begins with, and what follows it; None when it has not all come.

    Raises ValueError when it is longer than any that is taken.
    """
    end = data.find(_END)
    if end > MAX_HEAD or (end < 0 and len(data) > MAX_HEAD):
        raise ValueError(f"an HTTP head of more than {MAX_HEAD} bytes")
    return None if end < 0 else (data[:end], data[end + len(_END) :])


def parse_head(head: bytes) -> HttpHead:
    """`head`, without the empty line that ends it. Raises ValueError for what is no HTTP/1.1."""
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2:
        raise ValueError("the first line is none of HTTP")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError("a line of the head is no field")
        name, value = name.lower(), value.strip()
        if name in fields and name in {"authorization", "host", "sec-websocket-key", "sec-websocket-version"}:
            raise ValueError(f"the field {name} is there twice")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return HttpHead(first=(parts[0], parts[1], parts[2] if len(parts) > 2 else ""), fields=fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a WebSocket is. authority: host and port as the Host field says them; secure: whether it is within TLS."""

    secure: bool
    host: str
    port: int
    authority: str
    target: str


def parse_url(url: str) -> Place:
    """The place that `url` names. Raises InvalidError, which does not repeat it: there may be a password in it."""
    try:
        if not _PRINTABLE.fullmatch(url):
            raise ValueError
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if parts.scheme not in {"ws", "wss"} or not host or port == 0 or "@" in parts.netloc:
            raise ValueError
    except ValueError:
        raise InvalidError(
            "this is no address of a WebSocket", remedy=f"give one like wss://HOST:PORT{PATH}"
        ) from None
    secure = parts.scheme == "wss"
    target = (parts.path or PATH) + (f"?{parts.query}" if parts.query else "")
    return Place(
        secure=secure, host=host, port=port or (443 if secure else 80), authority=parts.netloc, target=target
    )


# -- the server's side


def judge_request(head: HttpHead) -> str | Refusal:
    """The key of a request that opens a WebSocket here, or why it does not."""
    method, target, version = head.first
    if version != "HTTP/1.1":
        return Refusal(status=400, sentence="It speaks HTTP/1.1.")
    if method != "GET":
        return Refusal(status=405, sentence=f"Only GET opens a WebSocket, not {method[:20]}.")
    if target.partition("?")[0] != PATH:
        return Refusal(status=404, sentence=f"There is nothing at this path; its WebSocket is at {PATH}.")
    if not head.has("upgrade", "websocket") or not head.has("connection", "upgrade"):
        return Refusal(status=426, sentence="It is talked to by the `squall` command, over a WebSocket.")
    if head.fields.get("sec-websocket-version") != "13":
        return Refusal(status=426, sentence="It speaks version 13 of the WebSocket protocol.")
    key = head.fields.get("sec-websocket-key", "")
    try:
        valid = len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        valid = False
    if not valid:
        return Refusal(status=400, sentence="The key of the WebSocket is none.")
    if not head.has("sec-websocket-protocol", PROTOCOL):
        return Refusal(status=400, sentence=f"The protocol over its WebSocket is {PROTOCOL}.")
    return key


def accept(key: str) -> bytes:
    """The answer that opens the WebSocket which a request with `key` has asked for."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Server: squall",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(key)}",
        f"Sec-WebSocket-Protocol: {PROTOCOL}",
    ]
    return "\r\n".join(lines).encode() + _END


def accept_key(key: str) -> str:
    """What proves that the one who answers has read the request with `key`."""
    # The RFC wants SHA-1; nothing is kept safe by it.
    digest = hashlib.sha1(key.encode() + _MAGIC, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


# -- the client's side


def request(place: Place, key: bytes, fields: Mapping[str, str]) -> bytes:
    """The request for the WebSocket at `place`. key: 16 bytes that nobody can foresee.

    Raises InvalidError for a field that cannot be sent.
    """
    return _head(
        f"GET {place.target} HTTP/1.1",
        {
            "Host": place.authority,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(key).decode(),
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": PROTOCOL,
            **fields,
        },
    )


def tunnel_request(authority: str, authorization: str | None) -> bytes:
    """The request to a proxy for a connection to `authority` ("host:port")."""
    login = {"Proxy-Authorization": authorization} if authorization else {}
    return _head(f"CONNECT {authority} HTTP/1.1", {"Host": authority, **login})


def judge_answer(head: HttpHead, key: bytes) -> None:
    """Raises UpgradeRefused unless `head` opens the WebSocket that was asked for with `key`."""
    version, status, reason = head.first
    if not version.startswith("HTTP/1.") or status != "101":
        said = f"{status} {reason}".strip() if version.startswith("HTTP/") else "something that is no HTTP"
        raise UpgradeRefused(f"no WebSocket was opened; the answer was {said[:200]!r}")
    if (
        not head.has("upgrade", "websocket")
        or not head.has("connection", "upgrade")
        or head.fields.get("sec-websocket-accept") != accept_key(base64.b64encode(key).decode())
        or head.fields.get("sec-websocket-protocol") != PROTOCOL
        or "sec-websocket-extensions" in head.fields
    ):
        raise UpgradeRefused("what answered opens WebSockets, but not to a Squall server")


def judge_tunnel(head: HttpHead) -> None:
    """Raises UpgradeRefused unless the proxy that answered with `head` has made the connection."""
    version, status, reason = head.first
    if not version.startswith("HTTP/1.") or len(status) != 3 or not status.startswith("2"):
        raise UpgradeRefused(
            f"the proxy made no connection; its answer was {f'{status} {reason}'.strip()[:200]!r}"
        )


def _head(first: str, fields: Mapping[str, str]) -> bytes:
    for name, value in fields.items():
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise InvalidError(
                f"the field {name!r} cannot be sent over HTTP: its name or value has characters that none may have"
            )
    return (
        "\r\n".join((first, *(f"{name}: {value}" for name, value in fields.items()))).encode("latin-1") + _END
    )
