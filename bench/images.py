"""Images: an image pulled and laid out, and a directory kept and laid out again, against skopeo and umoci."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import Bar, Samples, Turn, arguments, report_rounds, report_turn, seconds
from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.manifest_bytes import decode, encode
from squall.blobs.snapshot import snapshot
from squall.blobs.stack import diff, flattened
from squall.images.oci.nouns import ImageConfig, Platform
from squall.images.registry.client import RegistryClient
from squall.images.registry.credentials import Keychain
from squall.images.registry.reference import parse_reference
from squall.images.remote import pull_image, push_image

UNITS = {"pull_s": "s", "snapshot_s": "s", "checkout_s": "s"}
BARS = (Bar(metric="pull_s", factor=1.0, theirs="skopeo_umoci"),)
HERE = Platform(os="linux", architecture="amd64")
NAME = "bench/image:v1"
_FILES, _QUICK_FILES = 40_000, 4_000
_LARGE = 1 << 20
_LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")


def make_tree(top: Path, files: int, seed: int) -> None:
    """So many files as packages have them: most of a few KB, one in two hundred of 1 MiB; half of each can be packed."""
    drawn = random.Random(seed)
    for number in range(files):
        folder = top / f"{number % 61}" / f"{number % 677}"
        folder.mkdir(parents=True, exist_ok=True)
        size = _LARGE if number % 200 == 0 else int(drawn.lognormvariate(7.5, 1.2))
        data = drawn.randbytes(size // 2) + b"the same words " * (size // 30)
        (folder / f"module{number}.py").write_bytes(data)


@contextmanager
def a_registry(place: Path) -> Iterator[str]:
    """The address of Debian's registry on loopback. Raises FileNotFoundError where it is not installed."""
    place.mkdir()
    config, log = place / "config.yml", place / "log"
    storage = f"{{filesystem: {{rootdirectory: {place}/data}}}}"
    config.write_text(
        f"version: 0.1\nlog: {{formatter: json}}\nstorage: {storage}\nhttp: {{addr: '127.0.0.1:0'}}\n"
    )
    with log.open("wb") as output:
        command = ["docker-registry", "serve", str(config)]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        while not (found := _LISTENING.search(log.read_text())):
            if server.poll() is not None:
                raise RuntimeError(f"the registry ended: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        yield f"127.0.0.1:{found[1]}"
    finally:
        server.terminate()
        server.wait()


def client() -> RegistryClient:
    return RegistryClient(keys=Keychain({}), environ={})


async def push(address: str, top: Path, files: int) -> None:
    """An image of two layers: a tree, and another one over it."""
    blobs = await DiskBlobs.open(top / "pushing")
    tree = top / "tree"
    make_tree(tree, files, seed=1)
    first = decode(await blobs.get((await snapshot(tree, blobs, forced=False)).manifest))
    make_tree(tree / "more", files // 10, seed=2)
    both = decode(await blobs.get((await snapshot(tree, blobs, forced=False)).manifest))
    layers = [await blobs.put(encode(layer)) for layer in (first, diff(first, both))]
    config = ImageConfig(platform=HERE, diff_ids=())
    await push_image(client(), parse_reference(f"{address}/{NAME}"), blobs, layers, config)
    await blobs.close()
    shutil.rmtree(top / "pushing")
    shutil.rmtree(tree)


async def lay_out(blobs: BlobStore, layers: list[Digest], into: Path) -> None:
    shown = flattened([decode(await blobs.get(layer)) for layer in layers])
    await DirectoryRenderer(blobs).render(await blobs.put(encode(shown)), into)


async def pull(address: str, top: Path) -> float:
    """Seconds from nothing to a directory that a container could have for its root."""
    started = time.perf_counter()
    blobs = await DiskBlobs.open(top / "pulled")
    image = parse_reference(f"{address}/{NAME}")
    pulled = await pull_image(client(), image, blobs, HERE, lambda _line: None)
    await lay_out(blobs, [layer.manifest for layer in pulled.layers], top / "root")
    took_s = time.perf_counter() - started
    await blobs.close()
    return took_s


async def keep_and_lay_out(top: Path, files: int) -> Samples:
    make_tree(top / "kept", files, seed=3)
    blobs = await DiskBlobs.open(top / "blobs")
    started = time.perf_counter()
    kept = await snapshot(top / "kept", blobs)
    snapshot_s = time.perf_counter() - started
    started = time.perf_counter()
    await DirectoryRenderer(blobs).render(kept.manifest, top / "again")
    checkout_s = time.perf_counter() - started
    await blobs.close()
    return {"snapshot_s": [snapshot_s], "checkout_s": [checkout_s]}


def squall(top: Path, files: int) -> Samples:
    """Squall's turn."""
    with a_registry(top / "registry") as address:
        asyncio.run(push(address, top, files // 4))
        pull_s = asyncio.run(pull(address, top))
    return {"pull_s": [pull_s], **asyncio.run(keep_and_lay_out(top, files))}


def skopeo_umoci(top: Path, files: int) -> Samples:
    """The same image with one program that fetches and one that unpacks."""
    with a_registry(top / "registry") as address:
        asyncio.run(push(address, top, files // 4))
        layout = top / "layout"
        fetch = ["skopeo", "copy", "--quiet", "--src-tls-verify=false"]
        fetch += [f"docker://{address}/{NAME}", f"oci:{layout}:v1"]
        unpack = ["umoci", "unpack", "--image", f"{layout}:v1", str(top / "bundle")]

        def both() -> None:
            for command in (fetch, unpack):
                subprocess.run(command, check=True, capture_output=True)

        return {"pull_s": [seconds(both)]}


CONTENDERS: dict[str, tuple[Callable[[Path, int], Samples], tuple[str, ...]]] = {
    "squall": (squall, ("docker-registry",)),
    "skopeo_umoci": (skopeo_umoci, ("docker-registry", "skopeo", "umoci")),
}


def turn(who: str, *, quick: bool) -> Turn:
    """One turn of a contender; skipped where a program that it needs is not installed."""
    measure, needed = CONTENDERS[who]
    missing = [program for program in needed if shutil.which(program) is None]
    if missing:
        return Turn(skipped=f"{', '.join(missing)} not installed")
    top = Path(tempfile.mkdtemp(prefix="squall-images-"))
    try:
        return Turn(samples=measure(top, _QUICK_FILES if quick else _FILES))
    finally:
        shutil.rmtree(top, ignore_errors=True)


def main() -> None:
    """Runs the rounds and prints the figures."""
    options = arguments(__doc__ or "", list(CONTENDERS))
    if options.turn:
        report_turn(turn(options.turn, quick=options.quick))
        return
    report_rounds(__file__, options, UNITS, reference="skopeo_umoci", bars={"bar": BARS})


if __name__ == "__main__":
    main()
