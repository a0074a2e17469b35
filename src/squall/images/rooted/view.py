"""View: how a container sees an image with a root of its own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from squall.images.dockerfile.nouns import DEFAULT_PATH, ImageConfig
from squall.images.host import PYTHON_ROOT, Facts, Look, follow
from squall.images.plan import ImagePlan, lowers_of
from squall.images.rooted.nouns import Built
from squall.images.rooted.plan import final_key
from squall.images.skeleton import SkeletonDraft
from squall.model.image_steps import AddLocal
from squall.runtime.spec import Mount

_RESOLVERS: Final = "/etc/resolv.conf"
# Where programs look before they do anything; of an image that has them, its own show.
_DIRECTORIES: Final = ("/app", "/dev", "/etc", "/proc", "/root", "/sys", PYTHON_ROOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An image as directories of this machine. layers: the top one first; trees: the directory of each tree of local files."""

    built: Built
    layers: tuple[str, ...]
    adds: tuple[AddLocal, ...]
    trees: Mapping[str, str]


def mounts_of(facts: Facts, look: Look) -> tuple[Mount, ...]:
    """What every container of such an image is shown of this machine: what the runner needs, and who answers for names."""
    mounts: list[Mount] = []
    for name, path in facts.packages:
        found = follow(path, look)
        if found.seen is not None:
            mounts.append(Mount(source=found.real, target=f"{PYTHON_ROOT}/{name}"))
    resolvers = follow(_RESOLVERS, look)
    if resolvers.seen is not None:
        mounts.append(Mount(source=resolvers.real, target=_RESOLVERS))
    return tuple(mounts)


def view_of(shown: Shown, mounts: tuple[Mount, ...], source_root: str) -> ImagePlan:
    """The image for a container whose user's source shows at source_root."""
    built, python = shown.built, shown.built.python
    packages = python.packages if python is not None else ()
    skeleton = SkeletonDraft()
    for path in _DIRECTORIES:
        skeleton.add_dir(path)
    return ImagePlan(
        key=final_key(built, built.config, shown.adds),
        builds=(),
        layers=(),
        environment=environment_of(built.config, source_root),
        workdir=built.config.workdir if built.config.workdir != "/" else source_root,
        sys_path=(source_root, *packages, PYTHON_ROOT),
        mounts=mounts,
        skeleton=skeleton.done(),
        lowers=(*lowers_of(shown.adds, shown.trees), *shown.layers),
        owned=shown.layers,
        adds=shown.adds,
    )


def environment_of(config: ImageConfig, source_root: str) -> dict[str, str]:
    """The environment of a container: what the image says, and what every program expects to be told."""
    asked = [part for part in config.env.get("PYTHONPATH", "").split(":") if part]
    return {
        "HOME": "/root",
        "LANG": "C.UTF-8",
        **config.env,
        "PATH": config.env.get("PATH") or DEFAULT_PATH,
        "PYTHONPATH": ":".join(dict.fromkeys([*asked, source_root])),
    }
