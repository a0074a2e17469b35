"""Netlink: messages to the kernel's networking as bytes, and a socket that sends many of them at once."""

import os
import socket
import struct
from dataclasses import dataclass
from typing import Self

ROUTE, NETFILTER = 0, 12

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCLUSIVE, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
_MULTI = 0x2

_ERROR, _DONE = 2, 3
_HEAD = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NESTED = 0x8000
_KIND = 0x3FFF
_ROOM = 1 << 18
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message: its kind (RTM_*, or a subsystem's), flags beside REQUEST, and body. about: for an error's text."""

    kind: int
    flags: int
    body: bytes
    about: str = ""


def attribute(kind: int, content: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(content), kind) + content + b"\0" * (-len(content) % 4)


def text(kind: int, content: str) -> bytes:
    """An attribute that is a string."""
    return attribute(kind, content.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """An attribute that is 32 bits in the machine's order."""
    return attribute(kind, struct.pack("=I", value))


def big(kind: int, value: int) -> bytes:
    """An attribute that is 32 bits in the network's order."""
    return attribute(kind, struct.pack("!I", value))


def nested(kind: int, *inside: bytes) -> bytes:
    """An attribute made of attributes."""
    return attribute(kind | _NESTED, b"".join(inside))


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in `data` by their kind; of two of one kind the last. What is cut short is left out."""
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not 4 <= length <= len(data):
            break
        found[kind & _KIND] = data[4:length]
        data = data[length + 3 & ~3 :]
    return found


class Netlink:
    """A socket to one part of the kernel's networking, in the network namespace in which it was made."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.settimeout(_PATIENCE_S)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def tell(self, *messages: Message) -> None:
        """Have the kernel carry out `messages`, one after the other, up to the first that it refuses.

        Those with ACK in their flags are waited for. Raises OSError with what the refused one is about.
        """
        waited: dict[int, Message] = {}
        data = b""
        for message in messages:
            self._sequence += 1
            data += _encode(message, self._sequence)
            if message.flags & ACK:
                waited[self._sequence] = message
        self._socket.send(data)
        refused: OSError | None = None
        while waited:
            for kind, _, sequence, body in _parts(self._socket.recv(_ROOM)):
                asked = waited.pop(sequence, None)
                code = -struct.unpack_from("=i", body)[0] if kind == _ERROR else 0
                if code and refused is None:
                    refused = OSError(code, os.strerror(code), asked.about if asked else "a batch")
                    # A refused batch is answered for as a whole.
                    if asked is None:
                        waited.clear()
        if refused is not None:
            raise refused

    def list(self, kind: int, body: bytes) -> list[bytes]:
        """The bodies of everything of the kind that the question `kind` (RTM_GET*) is about."""
        self._sequence += 1
        self._socket.send(_encode(Message(kind=kind, flags=DUMP, body=body), self._sequence))
        found: list[bytes] = []
        while True:
            for answer, _, sequence, content in _parts(self._socket.recv(_ROOM)):
                if sequence != self._sequence:
                    continue
                if answer == _DONE:
                    return found
                if answer == _ERROR:
                    code = -struct.unpack_from("=i", content)[0]
                    raise OSError(code, os.strerror(code), f"listing {kind}")
                found.append(content)


def _encode(message: Message, sequence: int) -> bytes:
    padding = b"\0" * (-len(message.body) % 4)
    size = _HEAD.size + len(message.body)
    return _HEAD.pack(size, message.kind, REQUEST | message.flags, sequence, 0) + message.body + padding


def _parts(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """The messages in what one read gave: kind, flags, sequence, body."""
    found = []
    while len(data) >= _HEAD.size:
        length, kind, flags, sequence, _ = _HEAD.unpack_from(data)
        if not _HEAD.size <= length <= len(data):
            break
        found.append((kind, flags, sequence, data[_HEAD.size : length]))
        data = data[length + 3 & ~3 :]
    return found
