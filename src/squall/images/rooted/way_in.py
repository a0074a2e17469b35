"""Way in: what a step found before it failed, as an image of its own that a shell can be opened in. Pure."""

from __future__ import annotations

from dataclasses import replace

from squall.images.dockerfile.nouns import Run
from squall.images.plan import digest_of_parts
from squall.images.rooted.nouns import Built, LayerStep
from squall.model.errors import Error
from squall.model.image_steps import AptInstall, CondaInstall, PipInstall, RunFunction, UvSync

SHORT_KEY = 12
"""Digits of a key that people are shown; any that no other key begins with will do."""


def before(below: Built, step: LayerStep) -> Built:
    """The image that a step runs over, with what it is told: its variables, its directory and its user, and none of its secrets."""
    config, action = step.config, step.action
    match action:
        case Run():
            config = replace(config, env=action.env, workdir=action.workdir, user=action.user)
        case AptInstall() | PipInstall() | UvSync() | CondaInstall():
            config = replace(config, env={**config.env, **action.env}, workdir="/")
        case RunFunction():
            config = replace(config, env={**config.env, **action.env})
        case _:
            pass
    return replace(
        below,
        key=digest_of_parts("before", step.key),
        config=config,
        label=f"before {step.label}",
        parent=below.key,
        took_s=0.0,
        size=0,
    )


def with_way_in(failed: Error, key: str) -> Error:
    """The same error, which says how to look at the step that failed. key: of the image that `before` gives."""
    return type(failed)(
        f"{failed.message}\nto look around where it failed: squall shell --image-step {key[:SHORT_KEY]}",
        remedy=failed.remedy,
        **failed.details,
    )
