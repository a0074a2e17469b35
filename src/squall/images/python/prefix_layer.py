"""Prefix layer: the client's own Python copied, compiled once, and kept as a layer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.disk_errors import disk_error
from squall.blobs.manifest_bytes import decode, encode
from squall.blobs.snapshot import snapshot
from squall.blobs.threads import in_thread
from squall.images.python.bytecode import compile_library
from squall.images.python.contents import settled
from squall.images.python.nouns import Base, ClientPrefix
from squall.images.python.plan import FromClient
from squall.model.errors import ImageBuildError

_TELLS_A_PLACE = re.compile(r"_sysconfigdata_\w*(-\w+)*\.py|Makefile|python-config\.py")


async def copied(choice: FromClient, base: Base, blobs: BlobStore, scratch: Path) -> Digest:
    """The digest of a layer with the chosen prefix, once it is kept.

    scratch: a directory, where the files lie while they are kept: some 100 MiB. The same prefix over the same base gives the same
    digest. Raises ImageBuildError where the interpreter does not run or files vanish meanwhile, DiskFull, and what the store
    raises.
    """
    async with _room(scratch) as room:
        staged = room / "tree"
        await _away(lambda: _stage(choice, base, staged), room)
        await compile_library(choice.prefix.source, staged / choice.prefix.stdlib, f"/{choice.prefix.stdlib}")
        taken = await snapshot(staged, blobs, forced=False)
        if taken.changed:
            raise ImageBuildError(f"{taken.changed[0]} of the client's Python changed while it was copied")
        layer = settled(decode(await blobs.get(taken.manifest)).entries, base.attributes)
        await blobs.force(layer.chunks)
        return await blobs.put(encode(layer))


@contextlib.asynccontextmanager
async def _room(scratch: Path) -> AsyncIterator[Path]:
    try:
        room = Path(tempfile.mkdtemp(prefix="python-", dir=scratch))
    except OSError as error:
        raise disk_error(error, scratch) from error
    try:
        yield room
    finally:
        await _away(lambda: shutil.rmtree(room, ignore_errors=True), room)


def _stage(choice: FromClient, base: Base, staged: Path) -> None:
    """Lays files and links where they will be in the image."""
    left_out = {path for path, _ in choice.fit.left_out}
    files = [(path, source) for path, source in choice.prefix.files if path not in left_out]
    files += [(f"{base.library_dir}/{name}", one.source) for name, one in choice.fit.brought.items()]
    made: set[Path] = set()
    for path, source in files:
        to = staged / path
        _make_directory(to.parent, made)
        _copy(source, to, choice.prefix)
        to.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
    for path, target in choice.prefix.links:
        _make_directory((staged / path).parent, made)
        (staged / path).symlink_to(target)
    # Python looks for it once, when it starts: packages that come later must find it there.
    _make_directory(staged / choice.prefix.site_packages, made)


def _copy(source: str, to: Path, prefix: ClientPrefix) -> None:
    """Copies a file; of those that tell builds of extensions where Python lies, with the place that it has in the image."""
    home = "/" + prefix.interpreter.removesuffix(f"/bin/python{prefix.minor}")
    if prefix.prefix == home or not _TELLS_A_PLACE.fullmatch(to.name):
        shutil.copyfile(source, to)
        return
    text = Path(source).read_bytes()
    to.write_bytes(text.replace(os.fsencode(prefix.prefix), os.fsencode(home)))


def _make_directory(path: Path, made: set[Path]) -> None:
    if path not in made:
        path.mkdir(parents=True, exist_ok=True)
        made.add(path)


async def _away(work: Callable[[], None], room: Path) -> None:
    try:
        await in_thread(asyncio.get_running_loop().run_in_executor(None, work))
    except OSError as error:
        raise disk_error(error, room) from error
