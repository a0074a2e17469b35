"""Inventory: the images of one state directory, looked through where they lie, with a server or without."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest, is_digest
from squall.blobs.manifest import File
from squall.blobs.manifest_bytes import decode
from squall.images.layers import Layers
from squall.images.rooted.build_log import BuildLogs
from squall.images.rooted.inventory_rows import Records, built_row, chain, find_key, rows, steps_of
from squall.images.rooted.kept import Kept
from squall.images.rooted.nouns import Built
from squall.model.errors import BlobMissing, NotFoundError
from squall.model.jsonable import to_json
from squall.settings.paths import StatePaths


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """The log of one layer. label: what was built, as far as that is known."""

    key: str
    label: str


class Inventory:
    """What images there are, and what is known of each. Nothing is changed, and no use is noted."""

    def __init__(self, paths: StatePaths, logs: BuildLogs | None = None) -> None:
        self._paths = paths
        self._kept = Kept(paths.images)
        self._layers = Layers(paths.layers)
        self.logs = logs if logs is not None else BuildLogs(paths.build_logs)

    def records(self, containers: Mapping[str, int] | None = None) -> Records:
        """All that is here. containers: how many use what."""
        rendered = frozenset(path.name for path in self._paths.rendered.glob("*/*") if is_digest(path.name))
        return Records(
            built=self._kept.all(),
            host=self._layers.all(),
            containers=containers or {},
            rendered=rendered,
        )

    def rows(self, containers: Mapping[str, int] | None = None, *, every: bool) -> list[dict[str, Any]]:
        """See `inventory_rows.rows`."""
        return rows(self.records(containers), every=every)

    def find(self, asked: str) -> Built:
        """The image of the key that begins so. Raises NotFoundError, also for a layer over the host image, which is none by itself."""
        records = self.records()
        labels = _labels(records)
        key = find_key(asked, labels, labels)
        built = records.by_key.get(key)
        if built is None:
            raise NotFoundError(
                f"{key[:12]} is a layer over the host image ({labels[key]}), and not an image with a root of its own",
                remedy="host images stay on their machine; build on Image.debian_slim() or Image.from_registry() instead",
            )
        return built

    def made_of(self, key: str) -> tuple[str, ...]:
        """The keys of an image that is here and of all that it stands on."""
        by_key = self.records().by_key
        return tuple(one.key for one in chain(by_key[key], by_key)) if key in by_key else ()

    async def inspect(
        self, asked: str, blobs: BlobStore, containers: Mapping[str, int] | None = None
    ) -> dict[str, Any]:
        """All that is known of the image of this key, in plain values. Raises NotFoundError."""
        records = await asyncio.to_thread(self.records, containers)
        labels = _labels(records)
        key = find_key(asked, labels, labels)
        by_key = records.by_key
        if key not in by_key:
            (row,) = [row for row in rows(records, every=True) if row["key"] == key]
            return {**row, "place": str(self._layers.path(key))}
        (known,) = [(built, used_s) for built, used_s in records.built if built.key == key]
        built = known[0]
        steps = steps_of(built, by_key)
        return {
            **built_row(records, by_key, known),
            "parent": built.parent or None,
            "took_s": built.took_s,
            "python": None if built.python is None else to_json(built.python),
            "config": config_said(built),
            "steps": [{"key": one.key, "label": one.label} for one in chain(built, by_key)],
            "layers": [
                await self._layer(tree, step, blobs) for tree, step in zip(built.trees, steps, strict=True)
            ],
        }

    def log_parts(self, asked: str) -> tuple[LogPart, ...]:
        """The logs of the image or layer of this key, the lowest first; of an image those of its layers. Raises NotFoundError."""
        records = self.records()
        labels = _labels(records)
        there = self.logs.keys() | self.logs.building
        key = find_key(asked, there | labels.keys(), labels)
        if key in there:
            return (LogPart(key=key, label=labels.get(key, "")),)
        by_key = records.by_key
        below = chain(by_key[key], by_key) if key in by_key else []
        parts = tuple(LogPart(key=one.key, label=one.label) for one in below if one.key in there)
        if not parts:
            raise NotFoundError(
                f"no build log of {key[:12]} ({labels[key]}) is kept here",
                remedy="a log is kept where an image was built; `squall image inspect KEY` says what is known of it",
            )
        return parts

    async def _layer(self, tree: str, step: str, blobs: BlobStore) -> dict[str, Any]:
        row: dict[str, Any] = {"digest": tree, "step": step, "rendered": self.rendered(tree)}
        try:
            entries = decode(await blobs.get(Digest(tree))).entries
        except BlobMissing:
            return {**row, "entries": None, "size_bytes": None}
        size = sum(entry.size for entry in entries if isinstance(entry, File))
        return {**row, "entries": len(entries), "size_bytes": size}

    def rendered(self, tree: str) -> str | None:
        """The directory that shows a layer on this machine, where one was made."""
        found = next(iter(self._paths.rendered.glob(f"*/{tree}")), None)
        return None if found is None else str(Path(found))


def config_said(built: Built) -> dict[str, Any]:
    """How a program is started in an image, in plain values."""
    config = built.config
    return {
        "env": config.env,
        "workdir": config.workdir,
        "user": config.user,
        "entrypoint": None if config.entrypoint is None else list(config.entrypoint),
        "cmd": None if config.cmd is None else list(config.cmd),
        "labels": config.labels,
    }


def _labels(records: Records) -> dict[str, str]:
    return {
        **{layer.key: layer.label for layer in records.host},
        **{built.key: built.label for built, _ in records.built},
    }
