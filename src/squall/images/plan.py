"""Plan: what turns a recipe into an image on this machine: the layers still to build, and how a container sees them. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from squall.images.host import BIN_ROOT, PYTHON_ROOT, HostImage, is_below, join
from squall.images.skeleton import Skeleton
from squall.model.errors import PythonVersionMismatch
from squall.model.image import SOURCE_ROOT, ClientPython, ImageRecipe
from squall.model.image_steps import AddLocal, Env, PipInstall, Workdir, step_label, step_to_json
from squall.runtime.spec import Mount

BUILDER_VERSION: Final = 1
"""Grows when the same step would be built to something else: every older layer is then built anew."""

LAYERS_ROOT: Final = "/squall/layers"
_SYSTEM_PATH: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    """What a plan is decided from, besides the recipe.

    built: keys of the layers that are here. layers_dir: where layers lie on this machine; trees: the directory of each
    tree of local files, by its digest. isolated: False at
    the level `process`, where nothing is mounted and layers are used where they lie. source_root: where the user's
    source shows.
    """

    python: ClientPython
    host: HostImage
    built: frozenset[str] = frozenset()
    layers_dir: str = "/layers"
    trees: dict[str, str] = field(default_factory=dict)
    isolated: bool = True
    source_root: str = SOURCE_ROOT

    @property
    def layers_root(self) -> str:
        """Where a container finds the layers."""
        return LAYERS_ROOT if self.isolated else self.layers_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerBuild:
    """One layer to build: `step` on top of the layer `parent`, under the environment that holds at this place.

    before: the install steps that the parent is made of. lowers: directories that lie over the root, for local files
    that the step sees.
    """

    key: str
    parent: str | None
    step: PipInstall
    before: tuple[PipInstall, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    lowers: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """One line that tells people which step this is."""
        return step_label(self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """An image on this machine.

    key names all of it: two functions of one key can share what is prepared. builds: what is missing, in order;
    carried out, the next plan has none. layers: what a container uses once they are built, the first wins.
    sys_path: where modules are looked for besides the standard library, in this order. lowers: directories that lie
    over the skeleton, the top one first; they hold the local adds, and the layers of an image with a root of its own, which are `owned` by
    the container's ids.
    """

    key: str
    builds: tuple[LayerBuild, ...]
    layers: tuple[str, ...]
    environment: dict[str, str]
    workdir: str
    sys_path: tuple[str, ...]
    mounts: tuple[Mount, ...]
    skeleton: Skeleton
    lowers: tuple[str, ...] = ()
    owned: tuple[str, ...] = ()
    adds: tuple[AddLocal, ...] = ()
    warnings: tuple[str, ...] = ()


def plan_image(recipe: ImageRecipe, facts: BuildFacts) -> ImagePlan:
    """What makes `recipe` an image on the machine of `facts`. Raises PythonVersionMismatch."""
    check_python(recipe, facts.python)
    chain = _chain(recipe, facts)
    newest = max((at for at, build in enumerate(chain) if build.key in facts.built), default=-1)
    layers = (chain[-1].key,) if chain else ()
    environment, workdir = _settled(recipe, facts.source_root)
    shown = tuple(join(facts.layers_root, key) for key in layers)
    adds = tuple(step for step in recipe.steps if isinstance(step, AddLocal))
    mounts = (
        *facts.host.mounts,
        *(Mount(source=join(facts.layers_dir, key), target=join(LAYERS_ROOT, key)) for key in layers),
    )
    return ImagePlan(
        key=digest_of_parts(
            "image", chain[-1].key if chain else _root_key(facts), environment, workdir, *_said(adds)
        ),
        builds=tuple(chain[newest + 1 :]),
        layers=layers,
        environment=_with_defaults(environment, shown, facts),
        workdir=workdir,
        # The user's source, the image's layers, the client's packages, and last what the runner itself needs.
        sys_path=(
            facts.source_root,
            *shown,
            *facts.python.site_dirs,
            *([PYTHON_ROOT] if facts.isolated else []),
        ),
        mounts=mounts if facts.isolated else (),
        skeleton=facts.host.skeleton,
        lowers=lowers_of(adds, facts.trees),
        adds=adds,
        warnings=facts.host.warnings,
    )


def check_python(recipe: ImageRecipe, python: ClientPython) -> None:
    """Raises PythonVersionMismatch where the recipe asks for another Python than the client's, which is all there is."""
    if recipe.python_version is not None and recipe.python_version != python.minor:
        raise PythonVersionMismatch(
            f"the image asks for Python {recipe.python_version}, but this is Python {python.minor}: "
            "the host image has the Python that Squall is started with",
            remedy=f"leave python_version out, or start Squall with Python {recipe.python_version}",
        )


def lowers_of(adds: tuple[AddLocal, ...], trees: Mapping[str, str]) -> tuple[str, ...]:
    """The directories that show these adds when they lie over a root, the last add on top.

    Raises ValueError for an add whose tree is not here.
    """
    missing = [add.remote for add in adds if add.tree not in trees]
    if missing:
        raise ValueError(f"the local files of {missing[0]} are not here yet")
    return tuple(trees[tree] for tree in dict.fromkeys(add.tree for add in reversed(adds)))


def trees_of(recipe: ImageRecipe) -> tuple[str, ...]:
    """The digests of the trees that must be checked out before `recipe` can be planned."""
    return tuple(dict.fromkeys(step.tree for step in recipe.steps if isinstance(step, AddLocal)))


def _chain(recipe: ImageRecipe, facts: BuildFacts) -> list[LayerBuild]:
    """Every layer of the recipe, the first one first; each key holds all that went in before it."""
    chain: list[LayerBuild] = []
    key = _root_key(facts)
    environment: dict[str, str] = {}
    copied: list[AddLocal] = []
    for step in recipe.steps:
        match step:
            case Env():
                environment |= step.variables
                key = digest_of_parts("env", key, step_to_json(step))
            case AddLocal() if step.copy:
                copied.append(step)
                key = digest_of_parts("copied", key, *_said((step,)))
            case PipInstall():
                key = digest_of_parts("layer", key, step_to_json(step), recipe.sources)
                chain.append(
                    LayerBuild(
                        key=key,
                        parent=chain[-1].key if chain else None,
                        step=step,
                        before=tuple(build.step for build in chain),
                        environment=dict(environment),
                        lowers=lowers_of(tuple(copied), facts.trees),
                    )
                )
            case _:  # neither a working directory nor what is added at the start changes what a step makes
                pass
    return chain


def _root_key(facts: BuildFacts) -> str:
    """What a first layer stands on. Both bases are this machine, so they share their layers."""
    python = facts.python
    return digest_of_parts("root", BUILDER_VERSION, "host", python.version, python.soabi, python.platform)


def _said(adds: tuple[AddLocal, ...]) -> list[Any]:
    """What of local adds makes a difference: not what the user called them."""
    return [(add.remote, add.tree) for add in adds]


def digest_of_parts(*parts: Any) -> str:
    """The digest of some plain values."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _settled(recipe: ImageRecipe, workdir: str) -> tuple[dict[str, str], str]:
    """The variables and the working directory that all steps together leave."""
    environment: dict[str, str] = {}
    for step in recipe.steps:
        if isinstance(step, Env):
            environment |= step.variables
        elif isinstance(step, Workdir):
            workdir = step.path
    return environment, workdir


def _sys_path(shown: tuple[str, ...], adds: tuple[AddLocal, ...], facts: BuildFacts) -> tuple[str, ...]:
    """The user's source, the image's layers, the client's packages, and last what the runner itself needs.

    Where nothing can be laid over a root, added modules are found in their trees.
    """
    if facts.isolated:
        return (facts.source_root, *shown, *facts.python.site_dirs, PYTHON_ROOT)
    modules = tuple(add for add in adds if is_below(add.remote, SOURCE_ROOT))
    trees = (tree + SOURCE_ROOT for tree in lowers_of(modules, facts.trees))
    return (facts.source_root, *trees, *shown, *facts.python.site_dirs)


def _with_defaults(wanted: Mapping[str, str], shown: tuple[str, ...], facts: BuildFacts) -> dict[str, str]:
    """The environment of a container: what the image says, and what every program expects to be told.

    PYTHONPATH is for the programs that user code starts: commands of a layer find their packages through it.
    """
    bins = [*(join(layer, "bin") for layer in shown), join(facts.python.prefix, "bin")]
    asked = [part for part in wanted.get("PYTHONPATH", "").split(":") if part]
    return {
        **({"HOME": "/root"} if facts.isolated else {}),
        "LANG": "C.UTF-8",
        **wanted,
        "PATH": wanted.get("PATH") or ":".join(dict.fromkeys([*bins, *_SYSTEM_PATH, BIN_ROOT])),
        "PYTHONPATH": ":".join(dict.fromkeys([*asked, facts.source_root, *shown])),
    }
