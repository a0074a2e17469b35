"""The rows that `squall doctor` prints of OCI runtimes."""

from squall.runtime.rungs import Rung
from squall.runtime.runtimes.look import PROGRAMS, Runtime

_KEPT_APART = {
    "crun": "a sandbox made by crun",
    "runc": "a sandbox made by runc",
    "gvisor": "a kernel of its own for each container",
}


def row_of_runtime(found: Runtime) -> Rung:
    """What the level of `found` gets here."""
    feature, name = f"level {found.level}", PROGRAMS[found.level]
    if not found.refused:
        return Rung(feature=feature, rung=_KEPT_APART[found.level], why=_told(found))
    if found.program:
        more = f"a newer {name}, or what isolation says" if found.version else f"another {name}"
        return Rung(feature=feature, rung="refused", why=found.refused, more=more)
    return Rung(
        feature=feature,
        rung="refused",
        why=found.refused,
        more=f"install {name} (on Debian the package {name})",
    )


def _told(found: Runtime) -> str:
    """The program, its version, and of its options those that say how it keeps containers apart."""
    options = [option.removeprefix("--") for option in found.command if option.startswith("--platform")]
    return " ".join([found.program, found.version, *options])
