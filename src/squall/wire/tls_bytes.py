"""TLS bytes: plain bytes to what TLS sends and back, without touching a socket."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Final, cast

from squall.model.errors import ConnectionLost, PeerNotTrusted
from squall.wire.codec import Buffer

# One record holds at most this much; a read gives one record.
_RECORD: Final = 16 * 1024


class TlsBytes:
    """One end of a TLS connection by `context`. server_name: whose certificate a client wants to see, where it checks."""

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, server_name: str | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._engine = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name
        )
        self._ended = False

    def receive(self, data: Buffer) -> None:
        """Take what came from the other side; `read` gives what was in it."""
        self._incoming.write(data)

    def receive_end(self) -> None:
        """Nothing more comes from the other side."""
        self._incoming.write_eof()

    def shake(self) -> bool:
        """Whether the handshake is done; `to_send` has what it wants to say next.

        Raises PeerNotTrusted when the certificate is not one that this side accepts, ConnectionLost for anything else.
        """
        try:
            self._engine.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLCertVerificationError as error:
            raise PeerNotTrusted(
                f"the certificate of the other side was not accepted: {error.verify_message}"
            ) from None
        except ssl.SSLError as error:
            raise ConnectionLost(f"TLS failed: {_said(error)}") from None
        return True

    def read(self) -> bytes | None:
        """The next bytes that have arrived, None when there are none now, b"" once the other side has ended in order.

        Raises ConnectionLost where the bytes are no TLS, were changed, or end without being ended.
        """
        if self._ended:
            return b""
        try:
            data = self._engine.read(_RECORD)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            data = b""
        except ssl.SSLError as error:
            raise ConnectionLost(f"TLS failed: {_said(error)}") from None
        self._ended = not data
        return data

    def read_into(self, room: memoryview) -> int | None:
        """Like `read`, into `room`: how many bytes were put there."""
        if self._ended:
            return 0
        try:
            # Into a buffer it gives a count, which its annotation does not know.
            count = cast("int", self._engine.read(len(room), room))
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            count = 0
        except ssl.SSLError as error:
            raise ConnectionLost(f"TLS failed: {_said(error)}") from None
        self._ended = not count
        return count

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Take plain bytes to be sent; `to_send` has them sealed. Raises ConnectionLost."""
        # As few records as there can be: each costs the other side a read.
        data = memoryview(buffers[0] if len(buffers) == 1 else b"".join(buffers)).cast("B")
        try:
            while data:
                data = data[self._engine.write(data) :]
        except ssl.SSLError as error:
            raise ConnectionLost(f"TLS failed: {_said(error)}") from None

    def end(self) -> None:
        """Say that nothing more comes from this side; `to_send` has it. Harmless before the handshake and twice."""
        try:
            self._engine.unwrap()
        except ssl.SSLError:
            pass  # it wants to read the other side's end, or there is nothing to end

    def to_send(self) -> bytes:
        """What has to go to the other side now, b"" for nothing."""
        return self._outgoing.read() if self._outgoing.pending else b""

    @property
    def certificate(self) -> bytes | None:
        """The other side's certificate (DER), None where it gave none."""
        return self._engine.getpeercert(binary_form=True)


def _said(error: ssl.SSLError) -> str:
    reason = (error.reason or "").lower().replace("_", " ")
    return reason or str(error)
