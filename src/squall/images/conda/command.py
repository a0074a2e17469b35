"""Command: what is run for a step of conda packages, and how programs are started in an image that has an environment. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from squall.images.command import Command
from squall.images.conda.nouns import PREFIX, SILENCE_S, CondaJob
from squall.images.dockerfile.nouns import DEFAULT_PATH, ImageConfig
from squall.images.host import PYTHON_ROOT
from squall.images.installer import InstallerSettings
from squall.images.redact import placeholders
from squall.model.image_steps import CondaInstall

JOB: Final = "conda.json"
"""The file among the inputs that says what is to be installed."""

_BIN: Final = f"{PREFIX}/bin"
# Run by the Python that lies beside the environment: that of the environment is what is being changed. It is to heed no
# variable that the image has for its own Python.
_START: Final = (
    "import sys; sys.path[:0] = sys.argv[1:3]; from squall.images.conda.inside import main; main(sys.argv[3])"
)


def with_environment(config: ImageConfig) -> ImageConfig:
    """How programs are started once there is an environment: by its programs first. As if activated, but for its scripts."""
    path = config.env.get("PATH") or DEFAULT_PATH
    first = path if _BIN in path.split(":") else f"{_BIN}:{path}"
    return replace(
        config, env={**config.env, "PATH": first, "CONDA_PREFIX": PREFIX, "MAMBA_ROOT_PREFIX": PREFIX}
    )


def conda_command(
    step: CondaInstall, environ: Mapping[str, str], settings: InstallerSettings, places: tuple[str, str, str]
) -> Command:
    """The command that carries out `step`. environ: what the image says; places: of inputs, of the cache, and of the installer."""
    inputs, cache, installer = places
    job = CondaJob(
        packages=step.packages,
        explicit=step.explicit,
        channels=step.channels,
        begins=step.begins,
        cache=f"{cache}/conda",
        timeout_s=settings.timeout_s or SILENCE_S,
    )
    named = placeholders(" ".join([*step.channels, *step.explicit, *step.packages]))
    env = {
        "HOME": "/root",
        **environ,
        **step.env,
        "PATH": DEFAULT_PATH,
        "RUST_BACKTRACE": "0",  # of an installer that ends on its own, the reason is for people
        **settings.proxies,
        **{name: settings.secrets[name] for name in named if name in settings.secrets},
    }
    words = step.packages or (f"({len(step.explicit)} package files)",)
    return Command(
        argv=("/usr/bin/env", "python3", "-I", "-B", "-c", _START, PYTHON_ROOT, installer, f"{inputs}/{JOB}"),
        env=env,
        files={JOB: json.dumps(job.to_json())},
        shown=f"micromamba install {shlex.join(words)}",
    )
