"""Errors of building an image."""

# ruff: noqa: N818 - the names are those that users of this field know, most of them without a suffix

from __future__ import annotations

from squall.model.errors.asked import FeatureUnavailable
from squall.model.errors.root import Error


class ImageBuildError(Error):
    """A step of the image failed."""

    code, status = "SQ-1500", 422
    remedy = "correct the step that the message names; the build log above holds its output"
    step: str | None = None


class PackageNotFound(ImageBuildError):
    """A package of the image does not exist, or not for this Python."""

    code, status = "SQ-1501", 422
    remedy = "check the spelling and version of the package, and that it exists for this Python"
    package: str | None = None


class ImageStepUnavailable(FeatureUnavailable):
    """This image step does not exist in this version or on this machine."""

    code, status = "SQ-1502", 501
    remedy = "use `Image.host()` with `.pip_install`, or leave the step out"


class ImageDownloadError(ImageBuildError):
    """Something the image needs could not be downloaded."""

    code, status = "SQ-1503", 502
    remedy = "check the network and the package index in pip's settings, and build again"
