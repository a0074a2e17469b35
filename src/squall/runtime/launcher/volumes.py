"""The volumes of a launcher's containers, mounted and mounted anew by children of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from squall import faults
from squall.model.errors import ConnectionLost, Error, InvalidError, NotFoundError, VolumeMountRefused
from squall.runtime.children import BROKEN
from squall.runtime.container import Container
from squall.runtime.host import Host
from squall.runtime.id_maps import IdMaps
from squall.runtime.launcher.beside import Beside
from squall.runtime.volume_mounts import Into, MountedVolume, mount_volumes

Message = dict[str, Any]
_WORDS = 4096

_PLACED = faults.declare("volume.placed", "volumes lie in a container, and its agent was not told")


class Volumes:
    """Mounts what an agent says in containers that run. tell: to the agent, "mounted" or why not."""

    def __init__(self, host: Host, id_maps: IdMaps, beside: Beside, tell: Callable[[Message], None]) -> None:
        self._host = host
        self._id_maps = id_maps
        self._beside = beside
        self._tell = tell

    def mount(self, container: Container, message: Mapping[str, Any]) -> None:
        """Begin. Raises NotFoundError, InvalidError for what cannot be begun."""
        if container.phase != "running" or not container.pid:
            raise NotFoundError(f"the container {container.spec.id!r} is not running")
        try:
            volumes = tuple(map(MountedVolume.from_json, message["volumes"]))
        except (KeyError, ValueError) as problem:
            raise InvalidError(f"these volumes cannot be mounted: {problem}") from problem
        owner = container.spec.uid_base if self._host.privileged else None
        into = Into(
            pid=container.pid,
            pidfd=container.held.pidfd,
            host=self._host,
            owner=owner,
            ids=None if owner is None else self._id_maps.of(owner),
            again=bool(message.get("again")),
        )
        heard, said = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

        def carry_out() -> int:
            try:
                mount_volumes(volumes, into)
            except OSError as problem:
                about = f" ({problem.filename})" if problem.filename else ""
                os.write(said, f"{problem.strerror or problem}{about}".encode()[:_WORDS])
                return BROKEN
            return 0

        try:
            self._beside.do(carry_out, then=lambda code: self._done(container.spec.id, heard, code))
        except OSError:
            os.close(heard)
            raise
        finally:
            os.close(said)

    def _done(self, container: str, heard: int, code: int) -> None:
        try:
            why = os.read(heard, _WORDS).decode("utf-8", "replace")
        except BlockingIOError:
            why = ""
        finally:
            os.close(heard)
        if code == 0:
            faults.point(_PLACED)
            self._tell({"t": "mounted", "container": container})
            return
        refused: Error = VolumeMountRefused(f"the volumes could not be mounted: {why}")
        if not why:
            # It was killed, and said nothing: nobody's fault, and another container may have more luck.
            refused = ConnectionLost(f"what mounts volumes was killed over it ({code})")
        self._tell({"t": "refused", "container": container, "asked": "volumes", **refused.to_wire()})
