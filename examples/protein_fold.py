"""Protein fold: the melting curve of a hairpin, each temperature simulated in a container of its own, plotted into a Volume.

    squall run examples/protein_fold.py
    squall volume get protein-fold melting.png .

Sixteen residues start as a stretched chain. Cold, they fold into the hairpin and stay; hot, they do not; in between they
go to and fro, and the share of the hairpin's contacts that exist on average falls with the temperature.

This is a coarse model: a bead for each residue, and forces that know which shape they want (a Go model). It shows how a
chain with one favourite shape melts, not which shape a sequence has, and its temperatures are its own, not the kelvins
of a test tube.
"""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import squall

SEQUENCE = "GEWTYDDATKTFTVTE"  # a hairpin of protein G
TEMPERATURES = (200, 300, 400, 450, 500, 600, 700)
SEEDS = (1, 2)

STRAND, TURN = (-110.0, 110.0), ((55.0, 35.0), (95.0, 20.0))  # angles phi and psi, in degrees
BONDED, CONTACT_NM, STRENGTH = 3, 0.8, 4.0  # neighbours up to here are bonded; kJ/mol for each contact
STEP_PS, BETWEEN = 0.01, 200

image = squall.Image.host().pip_install(
    "openmm==8.6.1", "PeptideBuilder==1.1.0", "biopython==1.88", "matplotlib==3.11.2", "numpy"
)
volume = squall.Volume.from_name("protein-fold", create_if_missing=True)
app = squall.App("protein-fold", image=image)


@dataclass(frozen=True)
class Run:
    """One simulation: its temperature, and the share of the hairpin's contacts that existed, on average."""

    temperature: int
    folded: float


@app.function(cpu=1, memory=512)
def simulate(temperature: int, seed: int, steps: int) -> Run:
    """From a stretched chain; the first half of the steps are for folding, and what is there in the second is counted."""
    import numpy  # this and openmm are installed in the image, not here
    import openmm

    native = hairpin()
    wanted = distances(native)
    contacts = contacts_of(wanted)
    integrator = openmm.LangevinMiddleIntegrator(temperature, 1.0, STEP_PS)
    integrator.setRandomNumberSeed(seed)
    # So few beads are fastest on one core, without the machinery of the other platforms.
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(forces_towards(native), integrator, platform)
    places = numpy.arange(len(SEQUENCE))
    context.setPositions(numpy.stack([0.36 * places, 0.12 * (places % 2), 0.0 * places], axis=1))
    openmm.LocalEnergyMinimizer.minimize(context)
    context.setVelocitiesToTemperature(temperature, seed)

    integrator.step(steps // 2)
    found = []
    for _ in range(steps // 2 // BETWEEN):
        integrator.step(BETWEEN)
        now = distances(context.getState(positions=True).getPositions(asNumpy=True)._value)
        found.append(sum(now[pair] < 1.2 * wanted[pair] for pair in contacts) / len(contacts))
    return Run(temperature=temperature, folded=float(numpy.mean(found)))


def hairpin() -> Any:
    """Where the beads of the folded chain are, in nanometres: two strands, and a tight turn after half of them."""
    import numpy
    from PeptideBuilder import Geometry, PeptideBuilder

    middle = len(SEQUENCE) // 2
    angles = [STRAND] * len(SEQUENCE)
    angles[middle - 1 : middle + 1] = TURN
    chain = PeptideBuilder.initialize_res(SEQUENCE[0])
    for place, residue in enumerate(SEQUENCE[1:], 1):
        geometry = Geometry.geometry(residue)
        geometry.phi, geometry.psi_im1 = angles[place][0], angles[place - 1][1]
        PeptideBuilder.add_residue(chain, geometry)
    return numpy.array([residue["CA"].coord for residue in chain.get_residues()], dtype=float) / 10


def distances(points: Any) -> Any:
    """Of each bead from each other one."""
    import numpy

    return numpy.linalg.norm(points[:, None] - points[None], axis=-1)


def contacts_of(wanted: Any) -> list[tuple[int, int]]:
    """The pairs that touch in the folded chain, neighbours left out."""
    count = len(SEQUENCE)
    pairs = ((one, other) for one in range(count) for other in range(one + BONDED + 1, count))
    return [pair for pair in pairs if wanted[pair] < CONTACT_NM]


def forces_towards(native: Any) -> Any:
    """Stiff bonds, angles and torsions as they are in the folded chain, attraction where it has contacts, no overlap."""
    import openmm

    wanted = distances(native)
    contacts = set(contacts_of(wanted))
    system = openmm.System()
    bonds, angles, torsions = (
        openmm.HarmonicBondForce(),
        openmm.HarmonicAngleForce(),
        openmm.PeriodicTorsionForce(),
    )
    attraction = openmm.CustomBondForce(f"{STRENGTH}*(5*(wanted/r)^12 - 6*(wanted/r)^10)")
    attraction.addPerBondParameter("wanted")
    overlap = openmm.CustomBondForce(f"{STRENGTH}*(0.4/r)^12")
    for one in range(len(SEQUENCE)):
        system.addParticle(110.0)  # as heavy as a residue, in daltons
        for other in range(one + 1, len(SEQUENCE)):
            match other - one:
                case 1:
                    bonds.addBond(one, other, wanted[one, other], 40_000.0)
                case 2:
                    angles.addAngle(one, one + 1, other, angle(*native[one : other + 1]), 40 * STRENGTH)
                case 3:
                    turned = torsion(*native[one : other + 1])
                    for fold, share in ((1, 1.0), (3, 0.5)):
                        beads = (one, one + 1, one + 2, other)
                        torsions.addTorsion(*beads, fold, fold * turned + math.pi, share * STRENGTH)
            if (one, other) in contacts:
                attraction.addBond(one, other, [wanted[one, other]])
            elif other - one >= BONDED:
                overlap.addBond(one, other)
    for force in (bonds, angles, torsions, attraction, overlap):
        system.addForce(force)
    return system


def angle(first: Any, middle: Any, last: Any) -> float:
    """Of three points, in radians."""
    import numpy

    one, other = first - middle, last - middle
    return math.acos(one @ other / numpy.linalg.norm(one) / numpy.linalg.norm(other))


def torsion(first: Any, second: Any, third: Any, last: Any) -> float:
    """Of four points: by how much the two outer ones are turned against each other, in radians."""
    import numpy

    axis = (third - second) / numpy.linalg.norm(third - second)
    one, other = first - second, last - third
    one, other = one - (one @ axis) * axis, other - (other @ axis) * axis
    return math.atan2(numpy.cross(axis, one) @ other, one @ other)


@app.function(cpu=1, memory=512, volumes={"/data": volume})
def plot(curve: dict[int, float], melts_at: float) -> int:
    """Draws the curve into the volume, where it stays; gives the size of the picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(
        xlabel="temperature of the model (K)", ylabel="contacts that exist", ylim=(0, 1)
    )
    axes.plot(list(curve), list(curve.values()), marker="o")
    axes.axvline(melts_at, linestyle=":", color="gray")
    axes.set_title(f"{SEQUENCE} melts at {melts_at:.0f} K")
    picture = Path("/data/melting.png")
    figure.savefig(picture, dpi=120)
    volume.commit()
    return picture.stat().st_size


def melting_point(curve: dict[int, float]) -> float:
    """Where the curve first falls through one half, on a straight line between its points."""
    points = list(curve.items())
    for (cold, above), (hot, below) in itertools.pairwise(points):
        if above >= 0.5 > below:
            return cold + (hot - cold) * (above - 0.5) / (above - below)
    raise ValueError("the curve does not fall through one half")


@app.local_entrypoint()
def main(steps: int = 60_000) -> None:
    inputs = [(temperature, seed, steps) for temperature in TEMPERATURES for seed in SEEDS]
    shares: dict[int, list[float]] = {temperature: [] for temperature in TEMPERATURES}
    for run in simulate.starmap(inputs, order_outputs=False):
        shares[run.temperature].append(run.folded)
    curve = {temperature: sum(found) / len(found) for temperature, found in shares.items()}
    for temperature, folded in curve.items():
        print(f"{temperature} K: {folded:.2f} {'#' * round(40 * folded)}")
    melts_at = melting_point(curve)
    size = plot.remote(curve, melts_at)
    print(f"melts at {melts_at:.0f} K of the model; melting.png in the volume protein-fold, {size:,} bytes")
