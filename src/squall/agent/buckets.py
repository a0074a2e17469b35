"""Buckets: the processes that serve buckets to this node's containers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from squall import faults
from squall.agent.bucket_link import BucketLink
from squall.blobs.buckets.names import CONTROL
from squall.blobs.buckets.source import PATIENCE_S, Source, endpoint_of
from squall.blobs.s3_address import S3Address, S3Keys
from squall.model.bucket_mount import BucketMount
from squall.model.errors import BucketMountUnavailable, BucketRefused, ConnectionLost
from squall.model.function import Function
from squall.runtime.served import DEVICE
from squall.runtime.spec import SandboxSpec, ServedMount
from squall.settings.paths import StatePaths
from squall.wire.session import Session

_log: Final = logging.getLogger("squall.agent")
_NO_MOUNTS: Final = frozenset({"process"})
_UNABLE: Final = frozenset({"crun", "runc", "gvisor"})
_AGAIN_S: Final = 1.0
_USERS: Final = "users"
_DEFAULT_REGION: Final = "us-east-1"

_SERVING = faults.declare("bucket.serving", "a process serves a bucket, and no container was told of it")

Variables = Mapping[str, str]


class Buckets:
    """Those in use here. session: to the server, which has the keys; said: a line for the logs of functions; renew: of functions
    whose prepared sandboxes have mounts that are dead.
    """

    def __init__(self, paths: StatePaths, session: Callable[[], Session | None]) -> None:
        self._session = session
        self.said: Callable[[Collection[str], str], None] = lambda _functions, _text: None
        self.renew: Callable[[Collection[str]], None] = lambda _functions: None
        self._directory = paths.buckets
        self._log_file = paths.log("buckets")
        self._links: dict[str, BucketLink] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._sources: dict[str, Source] = {}
        self._used_by: dict[str, set[str]] = {}
        self._again: set[asyncio.Task[None]] = set()

    async def adopt(self) -> None:
        """Takes over the processes that an earlier agent left; sweeps what is left of others."""
        for directory in sorted(self._directory.iterdir()):
            if not directory.is_dir():
                continue
            link = BucketLink(directory)
            if await link.dial():
                self._keep(link)
                self._used_by[link.name] = _users(directory)
            else:
                _sweep(directory)

    async def equip(self, function: Function, spec: SandboxSpec) -> SandboxSpec:
        """`spec` with the function's buckets, each of which is served and was listed.

        Raises BucketMountUnavailable, BucketMountFailed, the Bucket errors, and what asking for keys raises.
        """
        if not function.buckets:
            return spec
        _check_level(function, spec)
        served = []
        for mount in function.buckets:
            link = await self._served(function, mount)
            await link.look()
            served.append(ServedMount(source=link.door, target=mount.path, writable=not mount.read_only))
        faults.point(_SERVING)
        return replace(spec, served=tuple(served))

    def keep_only(self, functions: Callable[[], Collection[str]]) -> None:
        """These functions may have containers here: what serves none of them ends with its last container."""
        for name, users in list(self._used_by.items()):
            users.intersection_update(functions())
            if not users:
                del self._used_by[name]
                self._sources.pop(name, None)
                link = self._links.pop(name, None)
                if link is not None:
                    link.end()

    def take_down(self) -> None:
        """No container is left: they all end."""
        for link in self._links.values():
            link.end()

    async def _served(self, function: Function, mount: BucketMount) -> BucketLink:
        source = source_of(mount, await self._ask_keys(function, mount))
        name = self._name(source)
        self._used_by.setdefault(name, set()).add(function.id)
        async with self._starting.setdefault(name, asyncio.Lock()):
            link = self._links.get(name)
            if link is None:
                # Another one of the same name may be ending: its sockets are not to be taken away from under it.
                link = BucketLink(self._directory / name)
                await link.start(source, log=self._log_file)
                self._keep(link)
        self._sources[name] = source
        # For the agent after this one.
        (link.directory / _USERS).write_text(json.dumps(sorted(self._used_by[name])))
        return link

    async def _ask_keys(self, function: Function, mount: BucketMount) -> Variables:
        """The variables of a mount's secret, as they are now."""
        if mount.secret is None:
            return {}
        session = self._session()
        if session is None:
            raise ConnectionLost("the server, which has the keys of buckets, is not connected")
        answer = await session.ask("bucket.keys", {"function": function.id, "path": mount.path})
        variables: Variables = json.loads(bytes(answer.payload))
        return variables

    def _keep(self, link: BucketLink) -> None:
        self._links[link.name] = link
        link.said = lambda text: self.said(tuple(self._used_by.get(link.name, ())), text)
        link.lost = partial(self._lost, link)

    def _lost(self, link: BucketLink) -> None:
        """A process has ended: sandboxes that were made ahead are of no use any more, and others need another process."""
        if self._links.get(link.name) is not link:
            return
        del self._links[link.name]
        users = tuple(self._used_by.get(link.name, ()))
        if not users:
            return
        _log.warning("the process %s has ended, which served a bucket: it is started again", link.pid)
        self.said(users, "the process that served a bucket has ended: containers that use it find it gone")
        self.renew(users)
        task = asyncio.get_running_loop().create_task(self._start_again(link.name))
        self._again.add(task)
        task.add_done_callback(self._again.discard)

    async def _start_again(self, name: str) -> None:
        """For sandboxes that are made without an agent's doing: they find the same door."""
        source = self._sources.get(name)
        if source is None:
            return
        await asyncio.sleep(_AGAIN_S)
        async with self._starting.setdefault(name, asyncio.Lock()):
            if name in self._links or name not in self._used_by:
                return
            link = BucketLink(self._directory / name)
            try:
                await link.start(source, log=self._log_file)
            except Exception as problem:  # noqa: BLE001 - whatever it is: the next container that needs it is told
                _log.warning("a bucket is not served: %s", problem)
                return
            self._keep(link)

    def _name(self, source: Source) -> str:
        """The same for the same bucket and keys, which it does not give away."""
        text = json.dumps(source.to_json(), sort_keys=True).encode()
        return hmac.new(_salt(self._directory / "salt"), text, hashlib.sha256).hexdigest()[:24]


def source_of(mount: BucketMount, variables: Variables) -> Source:
    """The bucket that a mount names, with the keys that its secret has; without any it is read by nobody's name.

    Raises BucketRefused where a secret has no keys.
    """
    access, key = variables.get("AWS_ACCESS_KEY_ID"), variables.get("AWS_SECRET_ACCESS_KEY")
    if variables and not (access and key):
        raise BucketRefused(
            f"the secret of the bucket {mount.bucket!r} has no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
            f"it has {', '.join(sorted(variables))}",
            bucket=mount.bucket,
        )
    keys = None
    if access and key:
        token = variables.get("AWS_SESSION_TOKEN") or None
        keys = S3Keys(access_key_id=access, secret_access_key=key, session_token=token)
    endpoint, virtual = endpoint_of(mount.bucket, mount.endpoint, force_path_style=mount.force_path_style)
    region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or _DEFAULT_REGION
    return Source(
        address=S3Address(
            bucket=mount.bucket,
            endpoint=endpoint,
            region=region,
            virtual_hosted=virtual,
            requester_pays=mount.requester_pays,
            anonymous=keys is None,
            patience_s=PATIENCE_S,
            keys=keys,
        ),
        prefix=mount.prefix,
    )


def _check_level(function: Function, spec: SandboxSpec) -> None:
    where = f"{function.name} mounts the bucket {function.buckets[0].bucket!r}"
    if spec.level in _NO_MOUNTS | _UNABLE:
        raise BucketMountUnavailable(
            f"{where}, and containers at the level {spec.level!r} mount none",
            remedy='run it at the level "sandbox" or "sandbox-strict"',
            feature="bucket mounts",
        )
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as problem:
        raise BucketMountUnavailable(
            f"{where}, and {DEVICE} cannot be opened here: {problem.strerror}", feature="bucket mounts"
        ) from None


def _salt(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        salt = secrets.token_bytes(32)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(salt)
        return salt


def _sweep(directory: Path) -> None:
    for path in (*directory.glob("door/*"), directory / CONTROL, directory / _USERS):
        with suppress(OSError):
            path.unlink()
    for path in (directory / "door", directory):
        with suppress(OSError):
            path.rmdir()


def _users(directory: Path) -> set[str]:
    try:
        return set(json.loads((directory / _USERS).read_text()))
    except (OSError, ValueError):
        return set()
