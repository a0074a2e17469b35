"""The examples that do real work, run as a user runs them, with what they print and write looked at by other means."""

from __future__ import annotations

import itertools
import json
import re
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import squall
from tests.end_to_end.conftest import House

# Images with packages of their own.
pytestmark = [pytest.mark.needs("linux", "namespaces", "network"), pytest.mark.timeout(400)]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(house: House, name: str, *flags: str) -> str:
    """What an example prints on standard output, once it has ended well."""
    done = house.run("-m", "squall", "run", str(EXAMPLES / name), *flags, within_s=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lamps_are_watertight_at_every_level_of_detail(house: House, tmp_path: Path) -> None:
    said = run(house, "mesh_pipeline.py", "--out", str(tmp_path))
    lines = re.findall(
        r"^(\S+\.glb): ([\d,> ]+) triangles, watertight, .* within ([\d.]+) %", said, re.MULTILINE
    )
    assert {name for name, _, _ in lines} == {path.name for path in tmp_path.iterdir()}
    assert len(lines) == 4
    for name, told, lost in lines:
        counts = [int(count.replace(",", "")) for count in told.split(" > ")]
        assert counts == sorted(counts, reverse=True)
        assert counts[0] > 4 * counts[-1]
        assert float(lost) < 5
        meshes = dict(meshes_of((tmp_path / name).read_bytes()))
        assert {mesh: len(faces) for mesh, faces in meshes.items()} == {
            f"lamp_LOD{level}": count for level, count in enumerate(counts)
        }
        assert all(is_closed(faces) for faces in meshes.values())


def meshes_of(glb: bytes) -> Iterator[tuple[str, list[tuple[bytes, ...]]]]:
    """The name of each mesh in a GLB file and its triangles, each of three points; those of equal bytes are one."""
    magic, version, length = struct.unpack_from("<4sII", glb)
    assert (magic, version, length) == (b"glTF", 2, len(glb))
    (size,) = struct.unpack_from("<I", glb, 12)
    tree: dict[str, Any] = json.loads(glb[20 : 20 + size])
    body = glb[20 + size + 8 :]

    def rows(number: int, width: int) -> list[bytes]:
        accessor = tree["accessors"][number]
        start = tree["bufferViews"][accessor["bufferView"]].get("byteOffset", 0) + accessor.get(
            "byteOffset", 0
        )
        return [body[start + width * row : start + width * (row + 1)] for row in range(accessor["count"])]

    for mesh in tree["meshes"]:
        (part,) = mesh["primitives"]
        assert tree["accessors"][part["indices"]]["componentType"] == 5125  # 4 bytes each
        points = rows(part["attributes"]["POSITION"], 12)
        corners = [points[int.from_bytes(one, "little")] for one in rows(part["indices"], 4)]
        yield mesh["name"], list(zip(*[iter(corners)] * 3, strict=True))


def is_closed(faces: list[tuple[bytes, ...]]) -> bool:
    """Whether each edge is passed as often in one direction as in the other: a surface with an inside."""
    passed = Counter((face[at], face[at - 1]) for face in faces for at in range(3))
    return all(count == passed[end, start] for (start, end), count in passed.items())


def test_texts_are_embedded_in_batches_and_the_right_ones_are_found(house: House) -> None:
    said = run(house, "batch_embeddings.py")
    texts, passes = re.search(r"^(\d+) texts read in .*, in (\d+) passes", said, re.MULTILINE).groups()  # type: ignore[union-attr]  # None has no groups, and so fails
    assert int(texts) > 200
    assert int(texts) / 32 <= int(passes) <= int(texts) / 20
    assert "the middle value of some numbers: statistics.median (" in said
    assert "copy a whole folder: shutil.copytree (" in said

    asked = run(house, "batch_embeddings.py", "--question", "find the greatest common factor of two numbers")
    assert ": math.gcd (" in asked


def test_the_melting_curve_falls_and_its_plot_is_in_the_volume(at_home: House) -> None:
    said = run(at_home, "protein_fold.py")
    curve = [
        (int(kelvin), float(share))
        for kelvin, share in re.findall(r"^(\d+) K: ([\d.]+) #", said, re.MULTILINE)
    ]
    assert [kelvin for kelvin, _ in curve] == [200, 300, 400, 450, 500, 600, 700]
    shares = [share for _, share in curve]
    assert shares[0] > 0.9
    assert shares[-1] < 0.4
    assert all(hotter < colder + 0.1 for colder, hotter in itertools.pairwise(shares))
    melts = re.search(r"melts at (\d+) K of the model; .* ([\d,]+) bytes", said)
    assert melts is not None
    assert 400 < int(melts[1]) < 600

    picture = b"".join(squall.Volume.from_name("protein-fold").read_file("melting.png"))
    assert picture.startswith(b"\x89PNG")
    assert len(picture) == int(melts[2].replace(",", ""))


def test_training_that_was_killed_ends_as_training_that_was_not(house: House, cpu_torch: None) -> None:
    killed = run(house, "fine_tune.py", "--name", "killed")
    assert "went on from the checkpoint of step 80" in killed
    whole = run(house, "fine_tune.py", "--name", "whole", "--killed-at", "0")
    assert "went on" not in whole
    ended = [re.findall(r"120 steps, loss ([\d.]+), .*\n(it writes: .*)", said) for said in (killed, whole)]
    assert ended[0] == ended[1]
    assert float(ended[0][0][0]) < 3


@pytest.fixture
def cpu_torch() -> None:
    """Skips where the index only has a torch that brings gigabytes of a GPU's libraries along."""
    asked = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        "--no-deps",
        "--ignore-installed",
        "--report",
        "-",
    ]
    found = subprocess.run(
        [sys.executable, *asked, "torch==2.13.0"], capture_output=True, text=True, check=False
    )
    if found.returncode or not re.search(r'"version": "2\.13\.0\+cpu"', found.stdout):
        pytest.skip("no package index gave torch without a GPU's libraries")
