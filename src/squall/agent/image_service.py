"""Image service: what clients ask of the images of this machine, and have done to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from squall.agent.apart import Apart
from squall.agent.containers import Containers
from squall.agent.image_shells import ImageShells
from squall.agent.prepared import Images, Prepared
from squall.agent.refusal import refusal
from squall.blobs.digest import Digest
from squall.images.flight import Say
from squall.images.installer import InstallerSettings
from squall.images.layers import Layers, measure
from squall.images.registry.reference import parse_reference
from squall.images.remote import push_image
from squall.images.rooted.bases import PASSWORD_SECRET, USER_SECRET
from squall.images.rooted.build import Job
from squall.images.rooted.images import Stores
from squall.images.rooted.inventory import Inventory
from squall.images.rooted.kept import Kept
from squall.images.rooted.nouns import Built
from squall.images.rooted.outward import export_image, oci_config, platform_of
from squall.images.rooted.prune import Going, InUse, Prune, what_goes
from squall.model.errors import Error, InvalidError, NotFoundError
from squall.model.function import Function
from squall.model.image import RegistryImage
from squall.settings.paths import StatePaths
from squall.wire.codec import Frame, Kind
from squall.wire.stream import Stream

_log = logging.getLogger("squall.agent")

Collect = Callable[[], Awaitable[int]]
"""Removes blobs that nothing names any more; how many bytes that gave back."""

Answer = tuple[dict[str, Any], bytes]
Handler = Callable[[Stream, dict[str, Any], dict[str, Any]], Coroutine[Any, Any, Answer]]

_BATCH: Final = 64 * 1024


class ImageService:
    """The images of this machine, for clients."""

    def __init__(
        self,
        images: Images,
        containers: Containers,
        stores: Stores,
        shells: ImageShells,
        paths: StatePaths,
    ) -> None:
        self._images = images
        self._containers = containers
        self._stores = stores
        self._shells = shells
        self._paths = paths
        self._kept = Kept(paths.images)
        self._layers = Layers(paths.layers)
        self._inventory = Inventory(paths, images.rooted.logs)
        self._platform = platform_of(os.uname().machine)
        self._users: dict[str, Prepared] = {}
        self._reading: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._handlers: Mapping[str, Handler] = {
            "image.build": self._build,
            "image.find": self._find,
            "image.list": self._list,
            "image.inspect": self._inspect,
            "image.logs": self._logs,
            "image.pull": self._pull,
            "image.push": self._push,
            "image.export": self._export,
            "image.prune": self._prune,
            "image.shell": self._shell,
        }

    def knows(self, name: object) -> bool:
        """Whether a message is for images."""
        return name in self._handlers

    def open(self, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
        """Answers one question on its stream; a client that goes away takes its wish back."""
        payload = bytes(frame.payload)
        task = asyncio.get_running_loop().create_task(self._answer(stream, head, payload))

        def on_frame(frame: Frame) -> None:
            if frame.kind is Kind.CANCEL:
                task.cancel()

        stream.on_frame = on_frame
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def used(self, functions: Iterable[Function], prepared: Prepared) -> None:
        """These functions start from this image, for as long as anybody knows them."""
        known = self._containers.known
        self._users = {name: one for name, one in self._users.items() if name in known}
        self._users |= {function.id: prepared for function in functions}

    def made_of(self, prepared: Prepared) -> list[str]:
        """The keys of an image with a root of its own and of all that it stands on, each after those; none for another."""
        return list(reversed(self._inventory.made_of(prepared.plan.key))) if prepared.rooted else []

    async def _answer(self, stream: Stream, head: dict[str, Any], payload: bytes) -> None:
        try:
            wish = json.loads(payload) if payload else head
            answer, more = await self._handlers[str(head["t"])](stream, head, wish)
            if stream.live:
                stream.end(answer, more)
        except Error as refused:
            stream.fail(refused)
        except asyncio.CancelledError:
            stream.fail(Error("what was asked was taken back"))
        except (KeyError, TypeError, ValueError) as wrong:
            stream.fail(InvalidError(f"the message {head.get('t')!r} is not as it should be: {wrong!r}"))
        except Exception as wrong:  # noqa: BLE001 - whatever goes wrong with one question, the agent lives on
            _log.exception("a question about images could not be answered")
            stream.fail(refusal(wrong))

    async def _build(self, stream: Stream, _head: dict[str, Any], wants: dict[str, Any]) -> Answer:
        began_s = time.time()
        wants = {**wants, "source": None}
        prepared = await self._images.prepare(wants, _teller(stream))
        if prepared.rooted and self._kept.find(prepared.plan.key) is None:
            # Something of it was found damaged since it was made ready, and so its record is gone.
            self._images.forget((prepared.plan.key,))
            prepared = await self._images.prepare(wants, _teller(stream))
        plan = prepared.plan
        rows = {row["key"]: row for row in self._inventory.rows(self._in_containers(), every=True)}
        parts = self._inventory.made_of(plan.key) if prepared.rooted else plan.layers
        answer = {
            "key": plan.key if prepared.rooted else None,
            "layers": [] if prepared.rooted else list(plan.layers),
            "new": any(rows[key]["made_s"] >= began_s for key in parts if key in rows),
            "image": rows.get(plan.key),
        }
        return {}, json.dumps(answer).encode()

    async def _find(self, _stream: Stream, head: dict[str, Any], _wish: dict[str, Any]) -> Answer:
        """What the image of a key is, which counts as used now."""
        built = self._inventory.find(str(head["key"]))
        rows = {row["key"]: row for row in self._inventory.rows(every=True)}
        if self._kept.find(built.key) is None or built.key not in rows:
            raise NotFoundError(f"the image {built.key} has gone since it was looked for")
        base = rows[built.key]["base"]
        what = built.label if base == built.label else f"{base}, {built.label}"
        return {}, json.dumps({"key": built.key, "what": what}).encode()

    async def _list(self, _stream: Stream, head: dict[str, Any], _wish: dict[str, Any]) -> Answer:
        rows = await asyncio.to_thread(
            partial(self._inventory.rows, self._in_containers(), every=bool(head.get("all")))
        )
        return {}, json.dumps({"images": rows}).encode()

    async def _inspect(self, _stream: Stream, head: dict[str, Any], _wish: dict[str, Any]) -> Answer:
        found = await self._inventory.inspect(str(head["key"]), self._stores.blobs, self._in_containers())
        return {}, json.dumps(found).encode()

    async def _logs(self, stream: Stream, head: dict[str, Any], _wish: dict[str, Any]) -> Answer:
        logs = self._images.rooted.logs
        parts = self._inventory.log_parts(str(head["key"]))
        for part in parts:
            about = {"key": part.key, "label": part.label, "parts": len(parts)}
            if head.get("follow"):
                await logs.follow(part.key, lambda line, about=about: _send_lines(stream, about, [line]))  # type: ignore[misc]  # bound now
            else:
                _send_lines(stream, about, logs.read(part.key))
        return {}, b""

    async def _pull(self, stream: Stream, _head: dict[str, Any], wish: dict[str, Any]) -> Answer:
        reference = str(parse_reference(str(wish["reference"])))
        image = RegistryImage(reference=str(wish["reference"]), login=bool(wish.get("login")))
        with self._images.under_way():
            before = {built.key for built, _ in self._kept.all()}
            async with self._images.leases.held():
                built = await self._images.rooted.bases.pulled(image, _job(wish), _teller(stream))
        (row,) = [row for row in self._inventory.rows(every=True) if row["key"] == built.key]
        answer = {"reference": reference, "new": built.key not in before, "image": row}
        return {}, json.dumps(answer).encode()

    async def _push(self, stream: Stream, _head: dict[str, Any], wish: dict[str, Any]) -> Answer:
        built = self._inventory.find(str(wish["key"]))
        reference = parse_reference(str(wish["reference"]))
        if reference.digest is not None:
            raise InvalidError(
                f"{reference} names an image by its digest, and an image is pushed to a tag",
                remedy="write it as HOST/NAME:TAG",
            )
        job = _job(wish)
        client = self._images.rooted.bases.client(reference, job if wish.get("login") else None)
        _teller(stream)(f"pushing {len(built.trees)} layers to {reference}")
        with self._read(built):
            config = oci_config(built.config, self._platform)
            layers = [Digest(tree) for tree in built.trees]
            # Packed layers go through the store, and nothing names them.
            async with self._images.leases.held():
                pushed = await push_image(client, reference, self._stores.blobs, layers, config)
        answer = {
            "key": built.key,
            "reference": str(reference),
            "digest": f"sha256:{pushed.manifest}",
            "sent": pushed.sent,
        }
        return {}, json.dumps(answer).encode()

    async def _export(self, stream: Stream, _head: dict[str, Any], wish: dict[str, Any]) -> Answer:
        built, target = self._inventory.find(str(wish["key"])), Path(str(wish["path"]))
        if wish["format"] not in {"oci-dir", "oci-archive"} or not target.is_absolute():
            raise InvalidError("an image is exported to an absolute path, as oci-dir or as oci-archive")
        how = (wish["format"], self._platform)
        with self._read(built):
            async with self._images.leases.held():
                digest = await export_image(built, self._stores.blobs, target, how, _teller(stream))
        answer = {"key": built.key, "path": str(target), "digest": f"sha256:{digest}"}
        return {}, json.dumps(answer).encode()

    async def _prune(self, _stream: Stream, head: dict[str, Any], said: dict[str, Any]) -> Answer:
        """What the server says beside: the images that names mean, each with its names."""
        names: dict[str, list[str]] = said["held"]
        wish = Prune(
            unused_since_s=time.time() - float(head["older_than_s"]),
            keep_bytes=int(head.get("keep_bytes") or 0),
        )
        in_use = replace(self._in_use(), held=frozenset(names))
        # No word of anybody else comes between the decision and the records' going.
        going = what_goes(self._inventory.records(), wish, in_use)
        logs = self._stale_logs(going, wish)
        sizes = await asyncio.to_thread(self._sizes, going)
        freed = sum(sizes.values())
        if not head.get("dry_run"):
            in_use = replace(self._in_use(), held=frozenset(names))
            again = what_goes(self._inventory.records(), wish, in_use)
            going = replace(
                going,
                built=tuple(built for built in going.built if built.key in again.keys),
                host=tuple(key for key in going.host if key in again.host),
                trees=tuple(tree for tree in going.trees if tree in again.trees),
            )
            freed = await self._remove(going, logs, sizes)
        gone = [{"key": built.key, "label": built.label} for built in going.built]
        gone += [{"key": key, "label": "a layer over the host image"} for key in going.host]
        held = [{"key": built.key, "label": built.label, "names": names[built.key]} for built in going.held]
        answer = {"gone": gone, "held": held, "freed_bytes": freed, "unknown": in_use.everything}
        return {}, json.dumps(answer).encode()

    def _stale_logs(self, going: Going, wish: Prune) -> list[str]:
        """Logs of what goes, and of builds that failed so long ago."""
        logs, records = self._images.rooted.logs, self._inventory.records()
        known = {*records.by_key, *(layer.key for layer in records.host)} - set(going.keys)
        return [
            key
            for key in logs.keys() - known
            if key in going.keys or logs.written_s(key) < wish.unused_since_s
        ]

    def _sizes(self, going: Going) -> dict[str, int]:
        """What the directories take that go, in bytes, by tree or key."""
        sizes = {}
        for tree in going.trees:
            place = self._inventory.rendered(tree)
            sizes[tree] = measure(Path(place))[0] if place is not None else 0
        for key in going.host:
            sizes[key] = measure(self._layers.path(key))[0]
        return sizes

    async def _remove(self, going: Going, logs: list[str], sizes: Mapping[str, int]) -> int:
        self._images.forget(going.keys)
        for built in going.built:
            self._kept.drop(built.key)
        freed = sum(self._images.rooted.logs.drop(key) for key in logs)
        for tree in going.trees:
            if await self._stores.rendered.remove(Digest(tree)):
                freed += sizes[tree]
        for key in going.host:
            await asyncio.to_thread(self._layers.remove, key)
            freed += sizes[key]
        return freed

    async def _shell(self, stream: Stream, head: dict[str, Any], _wish: dict[str, Any]) -> Answer:
        built = self._inventory.find(str(head["key"]))

        apart: list[Apart] = []

        def on_ends(message: dict[str, Any], fds: tuple[int, ...]) -> None:
            said = {"pid": message.get("pid"), "label": built.label}
            if head.get("apart"):
                stream.send({**said, "ends": len(fds)})
                apart.append(Apart(stream, tuple(map(os.dup, fds)), tty=bool(head.get("tty"))))
            else:
                stream.send(said, fds=fds)

        try:
            with self._read(built):
                how = await self._shells.run(built, head, on_ends)
        finally:
            for ends in apart:
                await ends.finish()
        return {"code": how.get("code"), "signal": how.get("signal")}, b""

    @contextlib.contextmanager
    def _read(self, built: Built) -> Iterator[None]:
        """While an image is being read, it is in use."""
        self._reading[built.key] += 1
        try:
            yield
        finally:
            self._reading[built.key] -= 1
            self._reading += Counter()

    def _in_use(self) -> InUse:
        known = self._containers.known
        users = [self._users[name] for name in known if name in self._users]
        keys = {key for one in users for key in (one.plan.key, *one.plan.layers)} | set(self._reading)
        # After a new start of this agent, until the server has had everything made ready again.
        everything = any(name not in self._users for name in known)
        trees = {Path(place).name for one in users for place in one.plan.owned}
        return InUse(
            keys=frozenset(keys),
            since_s=self._images.oldest_s,
            trees=frozenset(trees),
            everything=everything,
        )

    def _in_containers(self) -> dict[str, int]:
        """How many containers use each image or layer."""
        counts: Counter[str] = Counter()
        for local in self._containers.present.values():
            prepared = self._users.get(local.function)
            if prepared is not None:
                counts.update({prepared.plan.key, *prepared.plan.layers})
        return dict(counts)


def _teller(stream: Stream) -> Say:
    def say(line: str) -> None:
        if stream.live:
            stream.send({"line": line})

    return say


def _send_lines(stream: Stream, about: dict[str, Any], lines: Iterable[str]) -> None:
    batch: list[bytes] = []
    size = 0
    for line in lines:
        batch.append(line.encode("utf-8", "replace") + b"\n")
        size += len(batch[-1])
        if size >= _BATCH:
            _send_batch(stream, about, batch)
            batch, size = [], 0
    if batch:
        _send_batch(stream, about, batch)


def _send_batch(stream: Stream, about: dict[str, Any], batch: list[bytes]) -> None:
    if stream.live:
        stream.send(about, b"".join(batch))


def _job(wish: Mapping[str, Any]) -> Job:
    """What the login of a wish is, as builds are given it."""
    login = wish.get("login") or {}
    secrets = {USER_SECRET: str(login["user"]), PASSWORD_SECRET: str(login["password"])} if login else {}

    async def no_uv(_version: str | None, _say: Say) -> None:
        return None

    return Job(settings=InstallerSettings(secrets=secrets), find_uv=no_uv)
