"""Poetry: what is run to install what a Poetry project needs. Pure.

Poetry reads its lock and says what to install; uv installs it, as for every other step. Poetry itself would install into the environment
that it runs in, which is none of the image's, and what it takes for the image's differs from version to version.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping
from typing import Any, Final

from squall.images.command import Places, Tool
from squall.images.redact import placeholders
from squall.model.image_steps import PoetryInstall

PROJECT: Final = "pyproject.toml"
LOCK: Final = "poetry.lock"
REQUIREMENTS: Final = "poetry-requirements.txt"

_MAIN: Final = "main"
_EXPORTS: Final = "poetry-plugin-export"
# Poetry before its version 2 warns of a lock that is out of date, and goes on.
_SCRIPT: Final = """
said=$(HOME={home} {exporting} 2>&1); ended=$?
printf '%s\\n' "$said"
[ $ended = 0 ] || exit $ended
case $said in *"getting improper dependencies"*) exit 3;; esac
exec {installing}
"""


def script_of(step: PoetryInstall, tool: Tool, python: str, places: Places) -> str:
    """What a shell runs: Poetry writes requirements, and uv installs them. tool: uv; python: the image's.

    places: `inputs` has the project's files. What Poetry keeps for itself lies there too, and goes with it.
    """
    install = [
        *(*tool.argv, "pip", "install", "--system", "--break-system-packages", "--python", python),
        *("-r", f"{places.inputs}/{REQUIREMENTS}", "--cache-dir", places.cache),
        *("--link-mode", "copy", "--compile-bytecode", "--color", "never"),
    ]
    export = shlex.join(_exporting(step, tool, python, places.inputs))
    return _SCRIPT.format(home=places.inputs, exporting=export, installing=shlex.join(install))


def settings_of(places: Places) -> dict[str, str]:
    """The variables that keep Poetry, and uv for its sake, out of the image."""
    return {
        "POETRY_VIRTUALENVS_CREATE": "false",
        "POETRY_CACHE_DIR": f"{places.inputs}/poetry-cache",
        "POETRY_CONFIG_DIR": f"{places.inputs}/poetry",
        "POETRY_DATA_DIR": f"{places.inputs}/poetry-data",
        "POETRY_KEYRING_ENABLED": "false",
        "UV_TOOL_DIR": f"{places.inputs}/tools",
        "UV_CACHE_DIR": places.cache,
    }


def groups_of(pyproject: str) -> tuple[str, ...]:
    """The dependency groups that `poetry install` takes without being told, beside what the project itself needs.

    Raises ValueError for what is no TOML.
    """
    said = tomllib.loads(pyproject)
    own = _table(_table(said, "tool"), "poetry")
    groups = _table(own, "group")
    names = [*groups, *_table(said, "dependency-groups"), *(["dev"] if own.get("dev-dependencies") else [])]
    return tuple(dict.fromkeys(name for name in names if not _table(groups, name).get("optional")))


def _exporting(step: PoetryInstall, tool: Tool, python: str, inputs: str) -> list[str]:
    options = [
        *("--directory", inputs, "--format", "requirements.txt", "--output", f"{inputs}/{REQUIREMENTS}"),
        *("--no-interaction", "--no-ansi"),
        # A login that stands in the project's own address would be written a second time.
        *([] if placeholders(step.pyproject) else ["--with-credentials"]),
        *_chosen(step),
        *shlex.split(step.extra_options),
    ]
    if not step.poetry_version:
        return ["poetry", "export", *options]
    poetry = "poetry" if step.poetry_version == "latest" else f"poetry=={step.poetry_version}"
    # Poetry is found as pip would find it, in whichever index of this machine has it.
    run = [*tool.argv, "tool", "run", "--python", python, "--index-strategy", "unsafe-best-match"]
    return [*run, "--from", poetry, "--with", _EXPORTS, "poetry", "export", *options]


def _chosen(step: PoetryInstall) -> list[str]:
    """`poetry export` takes what the project itself needs unless it is told, and `poetry install` more."""
    if step.only_groups:
        return ["--only", ",".join(step.only_groups)]
    wanted = dict.fromkeys([*groups_of(step.pyproject), *step.with_groups])
    with_ = [name for name in wanted if name not in step.without_groups and name != _MAIN]
    without = [name for name in step.without_groups if name == _MAIN or name not in wanted]
    return [
        *(["--with", ",".join(with_)] if with_ else []),
        *(["--without", ",".join(without)] if without else []),
    ]


def _table(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = said.get(name)
    return found if isinstance(found, dict) else {}
