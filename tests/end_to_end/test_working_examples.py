"""The examples that do real work, run as a user runs them, with what they print and write looked at by other means."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
