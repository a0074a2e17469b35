"""Images: built, pulled and laid out, and a directory kept and laid out again, against buildah, pip, skopeo and umoci."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import image_builds
from measure import Bar, Samples, Turn, arguments, report, report_turn, results_of, run_rounds, say, seconds
from squall.blobs.checkout import Checkouts
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.manifest_bytes import decode, encode
from squall.blobs.overlay_notes import Notes
from squall.blobs.snapshot import snapshot
from squall.blobs.stack import diff
from squall.images.oci.nouns import ImageConfig, Platform
from squall.images.registry.client import RegistryClient
from squall.images.registry.credentials import Keychain
from squall.images.registry.reference import parse_reference
from squall.images.remote import pull_image, push_image

UNITS = {**image_builds.UNITS, "pull_s": "s", "snapshot_s": "s", "checkout_s": "s"}
BARS = (
    Bar(metric="build_s", factor=1.0, theirs="buildah"),
    Bar(metric="build_mixed_s", factor=1.0, theirs="buildah"),
    Bar(metric="rebuild_s", factor=0.1),
    Bar(metric="rebuild_mixed_s", factor=0.1),
    Bar(metric="rebuild_changed_s", factor=1.0, theirs="buildah"),
    Bar(metric="pull_s", factor=1.0, theirs="skopeo_umoci"),
)
# It keeps nothing that could be found again, and its packages are no other machine's.
AIMS = (Bar(metric="build_s", factor=1.0, theirs="venv_pip"),)
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


async def pull(address: str, top: Path) -> float:
    """Seconds from nothing to what a container has for its root: a directory for each layer, over which an overlay is mounted."""
    started = time.perf_counter()
    blobs = await DiskBlobs.open(top / "pulled")
    directories = await Checkouts.open(top / "layers", DirectoryRenderer(blobs, notes=Notes.USER))
    image = parse_reference(f"{address}/{NAME}")
    pulled = await pull_image(client(), image, blobs, HERE, lambda _line: None)
    for layer in pulled.layers:
        await directories.checkout(layer.manifest)
    took_s = time.perf_counter() - started
    await directories.close()
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


def squall(top: Path, files: int) -> Turn:
    """Squall's turn. Without a registry, or without a base, the figures that need it are left out."""
    samples: Samples = {}
    notes: list[str] = []
    # First, as with the others: what is written for the rest would have to reach the disk meanwhile.
    if (start := image_builds.prepared()) is None:
        notes.append("no builds: there is no base")
    else:
        samples |= image_builds.squall_builds(top, start)
    if missing := missing_of(("docker-registry",)):
        notes.append(f"no pull: {missing}")
    else:
        with a_registry(top / "registry") as address:
            asyncio.run(push(address, top, files // 4))
            samples["pull_s"] = [asyncio.run(pull(address, top))]
    return Turn(samples=samples | asyncio.run(keep_and_lay_out(top, files)), notes=tuple(notes))


def venv_pip(top: Path, _files: int) -> Turn:
    """The turn of pip in a virtual environment."""
    return Turn(samples=image_builds.venv_pip(top))


def buildah(top: Path, _files: int) -> Turn:
    """Buildah's turn."""
    if os.geteuid() != 0:
        return Turn(skipped="its storage is an overlay as root alone: run the bench as root")
    if (start := image_builds.prepared()) is None:
        return Turn(skipped="there is no base to build on: see above")
    with a_registry(top / "registry") as address:
        return image_builds.buildah(top / "buildah", start, address)


def skopeo_umoci(top: Path, files: int) -> Turn:
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

        return Turn(samples={"pull_s": [seconds(both)]})


_TURNS = "SQUALL_BENCH_TURNS"

CONTENDERS: dict[str, tuple[Callable[[Path, int], Turn], tuple[str, ...]]] = {
    "squall": (squall, ()),
    "venv_pip": (venv_pip, ()),
    "buildah": (buildah, ("buildah", "docker-registry")),
    "skopeo_umoci": (skopeo_umoci, ("docker-registry", "skopeo", "umoci")),
}


def missing_of(needed: Sequence[str]) -> str:
    """What to do about the programs of these that are not here; empty where all are."""
    missing = [program for program in needed if shutil.which(program) is None]
    return f"not installed: `apt-get install {' '.join(missing)}`" if missing else ""


def turn(who: str, *, quick: bool) -> Turn:
    """One turn of a contender; skipped where a program that it needs is not installed."""
    measure, needed = CONTENDERS[who]
    if missing := missing_of(needed):
        return Turn(skipped=missing)
    top = Path(tempfile.mkdtemp(prefix=f"{who}-", dir=os.environ.get(_TURNS)))
    try:
        return measure(top, _QUICK_FILES if quick else _FILES)
    finally:
        if _TURNS not in os.environ:
            shutil.rmtree(top, ignore_errors=True)


@contextmanager
def room_for_turns() -> Iterator[None]:
    """A directory for all turns, of which nothing goes before the last has ended.

    A file system without a journal looks at every inode that was freed in the last minutes before it takes one: whatever one turn
    removes makes each file of the next one dearer.
    """
    top = tempfile.mkdtemp(prefix="squall-images-")
    os.environ[_TURNS] = top
    try:
        yield
    finally:
        del os.environ[_TURNS]
        shutil.rmtree(top, ignore_errors=True)


@contextmanager
def base_of_builds(who: Sequence[str]) -> Iterator[Samples]:
    """What the builds of these contenders start from, while they have their turns, and how long it took."""
    top = Path(tempfile.mkdtemp(prefix="squall-images-"))
    samples: Samples = {}
    try:
        if {"squall", "buildah"} & set(who):
            try:
                samples = image_builds.prepare(top)
            except (RuntimeError, subprocess.CalledProcessError) as problem:
                say(f"no base to build on, so nothing is built: {problem}")
        yield samples
    finally:
        shutil.rmtree(top, ignore_errors=True)


def main() -> None:
    """Runs the rounds and prints the figures. Raises SystemExit where a contender failed."""
    options = arguments(__doc__ or "", list(CONTENDERS))
    if options.turn:
        report_turn(turn(options.turn, quick=options.quick))
        return
    with base_of_builds(options.contenders) as base, room_for_turns():
        turns = run_rounds(__file__, options)
    turns.setdefault("squall", []).append(Turn(samples=base))
    report(
        results_of(turns, UNITS), reference="squall", bars={"bar": BARS, "aim": AIMS}, json_too=options.json
    )
    if any(one.failed for taken in turns.values() for one in taken):
        raise SystemExit("a contender failed: see its line above")


if __name__ == "__main__":
    main()
