"""Mesh pipeline: lamps of gyroid lattice, each from a formula to a watertight GLB file with three levels of detail.

    squall run examples/mesh_pipeline.py --out lamps

A design is two numbers. Its container samples the formula, keeps the largest piece, saws a foot off for it to stand on,
and simplifies the surface twice; all designs are made at once, in as many containers as the machine has room for. Any
viewer of glTF opens the files; game engines take meshes whose names end with _LOD0, _LOD1, ... for levels of detail.
"""

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import squall

image = squall.Image.host().pip_install("manifold3d==3.5.4", "trimesh==5.2.0", "numpy")
app = squall.App("mesh-pipeline", image=image)

RADIUS = 1.0
FINEST = 0.05  # the longest edge, in units of the radius
TOLERANCES = (0.0, 0.01, 0.03)  # how far the surface of each level may be from the finest one
BRASS = (181, 140, 62, 255)


@dataclass(frozen=True)
class Design:
    """How many cells the lattice has across a lamp, and how thick its walls are."""

    cells: float
    wall: float


@dataclass(frozen=True)
class Lamp:
    """A finished lamp. triangles and volumes: of each level of detail, the finest first."""

    glb: bytes
    triangles: list[int]
    volumes: list[float]


@app.function(cpu=1, memory=512)
def make_lamp(design: Design) -> Lamp:
    solid = carve(design)
    levels = [solid.simplify(tolerance) if tolerance else solid for tolerance in TOLERANCES]
    return Lamp(
        glb=pack(levels),
        triangles=[level.num_tri() for level in levels],
        volumes=[level.volume() for level in levels],
    )


def carve(design: Design) -> Any:
    """The solid where the formula is positive: a gyroid with walls, within a sphere that stands on a flat foot."""
    import manifold3d  # installed in the image, not here

    waves = math.pi * design.cells / RADIUS
    sin, cos = math.sin, math.cos

    def inside(x: float, y: float, z: float) -> float:
        gyroid = (
            sin(waves * x) * cos(waves * y)
            + sin(waves * y) * cos(waves * z)
            + sin(waves * z) * cos(waves * x)
        )
        return min(RADIUS - math.sqrt(x * x + y * y + z * z), design.wall - abs(gyroid) / waves)

    edge = 1.1 * RADIUS
    lattice = manifold3d.Manifold.level_set(inside, [-edge] * 3 + [edge] * 3, FINEST * RADIUS)
    # Where the sphere cuts the walls, crumbs come off.
    whole = max(lattice.decompose(), key=lambda piece: piece.volume())
    return whole.trim_by_plane([0.0, 0.0, 1.0], -0.8 * RADIUS)


def pack(levels: list[Any]) -> bytes:
    """A GLB file with one mesh a level, read again and looked at before it counts as made."""
    import numpy
    import trimesh

    scene = trimesh.Scene()
    for number, level in enumerate(levels):
        mesh = level.to_mesh()
        surface = trimesh.Trimesh(mesh.vert_properties[:, :3], mesh.tri_verts, process=False)
        surface.visual.vertex_colors = numpy.tile(numpy.array(BRASS, numpy.uint8), (len(surface.vertices), 1))
        scene.add_geometry(surface, node_name=f"lamp_LOD{number}", geom_name=f"lamp_LOD{number}")
    glb = bytes(scene.export(file_type="glb"))

    for name, surface in trimesh.load(BytesIO(glb), file_type="glb").geometry.items():
        if not surface.is_watertight:
            raise ValueError(f"{name} has holes")
    return glb


@app.local_entrypoint()
def main(out: Path = Path("lamps")) -> None:
    designs = [Design(cells=cells, wall=wall) for cells in (1.5, 2.5) for wall in (0.06, 0.1)]
    out.mkdir(parents=True, exist_ok=True)
    for design, lamp in zip(designs, make_lamp.map(designs), strict=True):
        path = out / f"lamp-{design.cells:g}-{design.wall:g}.glb"
        path.write_bytes(lamp.glb)
        counts = " > ".join(f"{count:,}" for count in lamp.triangles)
        lost = max(abs(volume / lamp.volumes[0] - 1) for volume in lamp.volumes)
        print(
            f"{path.name}: {counts} triangles, watertight, volume kept within {100 * lost:.1f} %, {len(lamp.glb):,} bytes"
        )
    print(f"{len(designs)} lamps in {out}")
