"""The direct line: a connection on which the thread that waits for a call sends it and reads its outcome."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence

from squall.model.errors import ConnectionLost, Error, FunctionNotFound, TooManyInputs
from squall.wire.blocking import BlockingLink
from squall.wire.codec import Buffer, Frame, Kind
from squall.wire.rights import close_all


class DirectLine:
    """Carries one call at a time, in the caller's thread: no other thread of this process wakes up for it.

    It knows of no second try. Where anything is wrong, `carry` closes it and says no, and the call goes to the client's
    loop, which holds calls, connects anew and sends them again under the same id. An interrupt closes it too: then the
    server ends the call, as it does when a client goes.
    """

    def __init__(self, dial: Callable[[], socket.socket]) -> None:
        self._dial = dial
        self._taken = threading.Lock()
        self._link: BlockingLink | None = None
        self._last_id = -1

    def __del__(self) -> None:
        # Nobody else closes it as the program ends.
        self._close()

    def let_go(self) -> None:
        """The server is gone, as the client's own connection has found: no call shall find that out again."""
        if self._taken.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._taken.release()

    def carry(
        self, header: bytes, buffers: Sequence[Buffer], on_frame: Callable[[Frame], None]
    ) -> bool | None:
        """Opens a stream and hands every frame of its answer to on_frame, up to the last one.

        False: not answered, and it may have begun. None: the server has taken nothing of it. Raises what an interrupt of this
        thread raises.
        """
        if not self._taken.acquire(blocking=False):
            return None
        try:
            return self._carry(header, buffers, on_frame)
        except (OSError, Error):
            self._close()
            return False
        except BaseException:
            # Half a frame may be read or sent, and nobody wants the outcome any more.
            self._close()
            raise
        finally:
            self._taken.release()

    def _carry(
        self, header: bytes, buffers: Sequence[Buffer], on_frame: Callable[[Frame], None]
    ) -> bool | None:
        link = self._link
        if link is None:
            try:
                link, self._last_id = BlockingLink(self._dial()), -1
            except OSError:
                return None
            self._link = link
        stream = self._last_id = self._last_id + 2
        link.send(Frame(Kind.OPEN, stream, 0, header), *buffers)
        while (frame := link.recv()) is not None:
            if frame.stream == stream:
                kind = frame.kind
                if kind is Kind.FAIL and _is_for_the_loop(frame):
                    return None
                on_frame(frame)
                if kind is Kind.END or kind is Kind.FAIL:
                    return True
            close_all(frame.take_fds())
        self._close()
        return False

    def _close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()


def _is_for_the_loop(frame: Frame) -> bool:
    """Whether an error may be none on the client's connection.

    A new server knows an app once that has told it, and where there is no room, the loop waits for some.
    """
    return isinstance(Error.from_wire(frame.head()), ConnectionLost | FunctionNotFound | TooManyInputs)
