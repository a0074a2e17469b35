"""Commands: one that somebody wants to run in a container."""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import Any

from squall.agent.apart import Apart
from squall.agent.relay import LocalContainer
from squall.model.errors import NotFoundError
from squall.wire.stream import Stream


async def run_command(local: LocalContainer | None, stream: Stream, head: dict[str, Any]) -> None:
    """Runs a command in a container: its ends go up, then its exit status. Raises NotFoundError where the container is none."""
    if local is None:
        raise NotFoundError(f"no container {head['container']!r} runs on this node")
    how = {
        "argv": head["argv"],
        "tty": bool(head.get("tty")),
        "rows": head.get("rows", 24),
        "cols": head.get("cols", 80),
    }
    how |= {key: head[key] for key in ("env", "cwd") if key in head}

    # A short command has ended before its ends are passed on: what it printed must not be lost to its own end.
    ended: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def tell(ended: asyncio.Future[dict[str, Any]]) -> None:
        how = ended.result()
        if stream.live:
            stream.end({"code": how.get("code"), "signal": how.get("signal")})

    message, fds = await local.launcher.run(local.id, secrets.token_hex(8), how, ended.set_result)
    if not head.get("apart"):
        stream.send({"pid": message.get("pid")}, fds=fds)
        ended.add_done_callback(tell)
        for fd in fds:
            os.close(fd)
        return
    stream.send({"pid": message.get("pid"), "ends": len(fds)})
    apart = Apart(stream, fds, tty=how["tty"])
    try:
        await ended
    finally:
        await apart.finish()
    tell(ended)
