"""Joined: the server that this machine runs containers for, and by which certificate it is known there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from squall.model.errors import NodeRefused
from squall.settings.paths import StatePaths
from squall.settings.whole_file import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """server: HOST:PORT. websocket: whether it is reached through the proxies of the web. node: what this machine is called there."""

    server: str
    node: str
    websocket: bool = False


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """Where a machine that joined keeps its key, its certificate and the authority's (PEM)."""

    directory: Path

    @property
    def key(self) -> Path:
        return self.directory / "node.key"

    @property
    def certificate(self) -> Path:
        return self.directory / "node.crt"

    @property
    def authority(self) -> Path:
        return self.directory / "joined-authority.crt"


def write_joined(paths: StatePaths, joined: Joined) -> None:
    """From now on this machine is one of that server's. Raises OSError."""
    said = {"server": joined.server, "node": joined.node, "websocket": joined.websocket}
    write_whole(paths.joined, json.dumps(said).encode())


def read_joined(paths: StatePaths) -> Joined | None:
    """The server that this machine has joined; None where it has its own. Raises NodeRefused for a file that is none of ours."""
    try:
        said = json.loads(paths.joined.read_bytes())
        return Joined(
            server=str(said["server"]), node=str(said["node"]), websocket=bool(said.get("websocket"))
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as wrong:
        raise NodeRefused(f"{paths.joined} does not say which server this machine has joined") from wrong


def forget_joined(paths: StatePaths) -> bool:
    """This machine is its own again, and its key is gone; whether it was another server's. Raises OSError."""
    there = paths.joined.exists()
    files = NodeFiles(paths.access)
    for path in (paths.joined, files.key, files.certificate, files.authority):
        path.unlink(missing_ok=True)
    return there
