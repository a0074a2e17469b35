"""Dockerfile: what a Dockerfile says, as stages and steps in which everything is resolved. Pure."""

from __future__ import annotations

from squall.images.dockerfile.nouns import (
    Copy,
    Dockerfile,
    ImageConfig,
    InlineFile,
    MakeDirectory,
    Run,
    Stage,
    Step,
    step_from_json,
    step_to_json,
)
from squall.images.dockerfile.read import image_names, parse, parse_commands

__all__ = [
    "Copy",
    "Dockerfile",
    "ImageConfig",
    "InlineFile",
    "MakeDirectory",
    "Run",
    "Stage",
    "Step",
    "image_names",
    "parse",
    "parse_commands",
    "step_from_json",
    "step_to_json",
]
