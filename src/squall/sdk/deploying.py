"""Deploying: one version on its way, asked for again on every new connection, until the server says what became of it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import Any

from squall.context.fresh import fresh_id
from squall.model.errors import ConnectionLost, DeployFailed, Error
from squall.model.ids import APP
from squall.sdk.blocking import run_blocking
from squall.sdk.client import Client
from squall.sdk.raised import rebuild
from squall.sdk.running import Event, Watch
from squall.wire.codec import Frame, Kind
from squall.wire.session import Session
from squall.wire.stream import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployWish:
    """What is said of a version beside its functions."""

    name: str
    environment: str
    tag: str = ""
    strategy: str = "rolling"
    who: str = ""


class Deploying:
    """A version's stream. message: "deploy" or "deploy.rollback"; head: names the version by an id of its own.

    watch: gets what the server tells meanwhile, on the client's loop.
    """

    rank = 0

    def __init__(self, client: Client, message: str, head: Event, payload: Any, watch: Watch) -> None:
        self._client = client
        self._message = message
        self._head = head
        self._payload = json.dumps(payload).encode()
        self._watch = watch
        self._stream: Stream | None = None
        self._ended: asyncio.Future[dict[str, Any]] | None = None

    async def outcome(self) -> dict[str, Any]:
        """What the server says of the version once it serves; cancelled, it is given up.

        Raises DeployFailed, caused by what the code raised, and the errors of images that cannot be built.
        """
        self._ended = asyncio.get_running_loop().create_future()
        self._client.add(self)
        try:
            return await self._ended
        except asyncio.CancelledError:
            if self._stream is not None:
                self._stream.cancel()
            raise
        except DeployFailed as failed:
            raise failed from self._cause(failed)
        finally:
            self._client.remove(self)

    def attach(self, session: Session) -> None:
        """See Lasting."""
        self._stream = session.open(self._message, self._head, self._payload, on_frame=self._on_frame)

    def give_up(self, error: Error) -> None:
        """See Lasting."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)

    def _on_frame(self, frame: Frame) -> None:
        if frame.kind is Kind.DATA:
            self._watch(frame.head(), memoryview(frame.payload))
        elif frame.kind is Kind.FAIL:
            error = Error.from_wire(frame.head())
            if not isinstance(error, ConnectionLost):
                self.give_up(error)
        elif frame.kind is Kind.END and self._ended is not None and not self._ended.done():
            self._ended.set_result(frame.head())

    def _cause(self, failed: DeployFailed) -> BaseException | None:
        """What the code raised, or what else kept it from starting."""
        raised, cause = failed.details.get("raised"), failed.details.get("cause")
        if isinstance(raised, dict):
            return rebuild(raised, None, source_root_local=str(self._head.get("root") or "") or None)
        return Error.from_wire(cause) if isinstance(cause, dict) else None


def roll_back(wish: DeployWish, version: int | None, watch: Watch) -> dict[str, Any]:
    """Deploys again what an app was at a version, or before the one that serves; what the server says of it. Blocking.

    Raises VersionNotFound, EnvironmentNotFound, and what `Deploying.outcome` raises.
    """
    head: dict[str, Any] = {"app": fresh_id(APP), **asdict(wish)}
    if version is not None:
        head["version"] = version
    return run_blocking(Deploying(Client.here(), "deploy.rollback", head, {}, watch).outcome())
