"""Volumes: many small files and a large one, written in a container, committed and read in another, against the disk itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import squall
from measure import Bar, Turn, arguments, report_rounds, report_turn, seconds

UNITS = {
    "small_write_s": "s",
    "small_commit_s": "s",
    "small_read_s": "s",
    "small_s": "s",
    "large_write_s": "s",
    "large_commit_s": "s",
    "large_commit_mb_s": "MB/s",
    "large_read_s": "s",
}
BARS = (Bar(metric="small_s", factor=10.0, theirs="ext4"),)
AIMS = (Bar(metric="large_commit_mb_s", factor=0.5, at_least=True, theirs="ext4"),)
_FILES, _QUICK_FILES = 10_000, 1_000
_LARGE, _QUICK_LARGE = 1 << 30, 1 << 27
_BLOCK = 1 << 20

app = squall.App("bench-volumes")


def write_small(top: str, files: int) -> None:
    """So many files of about 1 KiB in a hundred directories."""
    for folder in range(100):
        os.makedirs(f"{top}/{folder}", exist_ok=True)
        for number in range(files // 100):
            with open(f"{top}/{folder}/{number}", "wb") as file:
                file.write(os.urandom(1024))


def read_all(top: str) -> int:
    """The bytes of all files below, each read."""
    found = 0
    for folder, _, names in os.walk(top):
        for name in names:
            with open(f"{folder}/{name}", "rb") as file:
                while data := file.read(_BLOCK):
                    found += len(data)
    return found


def write_large(path: str, size: int) -> None:
    """A file of which no two blocks are alike."""
    block = os.urandom(_BLOCK)
    with open(path, "wb") as file:
        file.writelines(number.to_bytes(8, "big") + block[8:] for number in range(size // _BLOCK))


def squall_turn(files: int, size: int) -> Turn:
    """A container writes and commits, and another one that was there before reloads and reads."""
    with squall.Volume.ephemeral() as small, squall.Volume.ephemeral() as large:

        @app.function(serialized=True, volumes={"/small": small, "/large": large}, timeout=600)
        def writes(files: int, size: int) -> dict[str, float]:
            return {
                "small_write_s": seconds(lambda: write_small("/small", files)),
                "small_commit_s": seconds(small.commit),
                "large_write_s": seconds(lambda: write_large("/large/file", size)),
                "large_commit_s": seconds(large.commit),
            }

        @app.function(serialized=True, volumes={"/small": small, "/large": large}, timeout=600)
        def reads(files: int, size: int) -> dict[str, float]:
            def read(volume: squall.Volume, top: str, expected: int) -> None:
                volume.reload()
                assert read_all(top) == expected

            return {
                "small_read_s": seconds(lambda: read(small, "/small", files * 1024)),
                "large_read_s": seconds(lambda: read(large, "/large", size)),
            }

        with app.run():
            assert reads.remote(0, 0)
            found = {**writes.remote(files, size), **reads.remote(files, size)}
    return _turn_of(found, size)


def ext4_turn(files: int, size: int) -> Turn:
    """The same on the disk itself: written, forced to disk, and read; the large file copied and forced."""
    top = tempfile.mkdtemp(prefix="squall-volumes-", dir=os.environ.get("SQUALL_STATE_DIR"))
    try:
        os.mkdir(f"{top}/small")
        found = {
            "small_write_s": seconds(lambda: write_small(f"{top}/small", files)),
            "small_commit_s": seconds(lambda: _force_all(f"{top}/small")),
            "small_read_s": seconds(lambda: read_all(f"{top}/small")),
            "large_write_s": seconds(lambda: write_large(f"{top}/file", size)),
            "large_commit_s": seconds(lambda: _copy(f"{top}/file", f"{top}/copy")),
            "large_read_s": seconds(lambda: read_all(top)),
        }
    finally:
        shutil.rmtree(top)
    return _turn_of(found, size)


def _force_all(top: str) -> None:
    subprocess.run(["sync", "-f", top], check=True)


def _copy(path: str, to: str) -> None:
    with open(path, "rb") as source, open(to, "wb") as target:
        while data := source.read(_BLOCK):
            target.write(data)
        target.flush()
        os.fsync(target.fileno())


def _turn_of(found: dict[str, float], size: int) -> Turn:
    small = sum(found[f"small_{what}_s"] for what in ("write", "commit", "read"))
    rate = size / 1e6 / found["large_commit_s"]
    return Turn(
        samples={
            name: [value] for name, value in {**found, "small_s": small, "large_commit_mb_s": rate}.items()
        }
    )


CONTENDERS: dict[str, Callable[[int, int], Turn]] = {"squall": squall_turn, "ext4": ext4_turn}


def main() -> None:
    """Runs the rounds and prints the figures. Raises SystemExit where a contender failed."""
    options = arguments(__doc__ or "", list(CONTENDERS))
    if options.turn:
        files, size = (_QUICK_FILES, _QUICK_LARGE) if options.quick else (_FILES, _LARGE)
        report_turn(CONTENDERS[options.turn](files, size))
        return
    state = Path(tempfile.mkdtemp(prefix="squall-bench-"))
    os.environ["SQUALL_STATE_DIR"] = str(state)
    try:
        report_rounds(__file__, options, UNITS, reference="ext4", bars={"bar": BARS, "aim": AIMS})
    finally:
        subprocess.run([sys.executable, "-m", "squall", "down"], stdout=subprocess.DEVNULL, check=False)
        shutil.rmtree(state, ignore_errors=True)


if __name__ == "__main__":
    main()
