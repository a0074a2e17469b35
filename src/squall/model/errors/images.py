"""Errors of building an image."""

# ruff: noqa: N818 - the names are those that users of this field know, most of them without a suffix

from __future__ import annotations

from squall.model.errors.asked import FeatureUnavailable, InvalidError, NotFoundError
from squall.model.errors.containers import ResourceExhaustedError
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


class RegistryAccessDenied(ImageDownloadError):
    """The registry does not let this user do that, or hides that there is nothing."""

    code, status = "SQ-1510", 403
    remedy = "check the image's name, and log in to the registry with a user who may: `docker login HOST`"
    host: str | None = None
    repository: str | None = None


class RegistryNotFound(ImageDownloadError):
    """The registry has no image, tag or blob of that name."""

    code, status = "SQ-1511", 404
    remedy = "check the image's name and tag; a tag may have been deleted since"
    host: str | None = None
    repository: str | None = None


class RegistryUnreachable(ImageDownloadError):
    """The registry could not be reached, or broke off again and again."""

    code, status = "SQ-1512", 502
    remedy = (
        "check the network, the proxy settings (HTTPS_PROXY, NO_PROXY) and the registry's name, and try again"
    )
    host: str | None = None
    repository: str | None = None


class RegistryRateLimited(ImageDownloadError):
    """The registry answers this machine or user no more for a while."""

    code, status = "SQ-1513", 429
    remedy = "wait for as long as the message says, or log in: registries allow users more than strangers"
    host: str | None = None
    repository: str | None = None
    wait_s: float | None = None


class RegistryAnswerWrong(ImageDownloadError):
    """The registry's answer breaks the rules, and nothing of it was kept."""

    code, status = "SQ-1514", 502
    remedy = "try again; if it stays so, the registry, or a proxy before it, is broken or not to be trusted"
    host: str | None = None
    repository: str | None = None


class RegistryRefused(ImageDownloadError):
    """The registry will not take what was sent."""

    code, status = "SQ-1515", 422
    remedy = "look at what the registry's operator allows: kinds of manifests, sizes, overwriting of tags"
    host: str | None = None
    repository: str | None = None


class LayerInvalid(InvalidError):
    """The bytes are no layer of an image, or one that cannot be kept."""

    code, status = "SQ-1516", 422
    remedy = "build the image again with a current tool; the entry that the message names is what stands in the way"
    entry: str | None = None


class LayerTooLarge(ResourceExhaustedError):
    """The layer unpacks to more than is allowed."""

    code, status = "SQ-1517", 413
    remedy = "if the image is one that you trust, split the layer into several; if not, leave it alone"
    limit: int | None = None


class ImageDocumentInvalid(InvalidError):
    """A document of an image does not say what one must say."""

    code, status = "SQ-1518", 422
    remedy = "pull or build the image again with a current tool; a part of it is damaged or of an old form"


class MirrorUnreachable(ImageDownloadError):
    """A mirror of the distribution could not be reached, or broke off again and again."""

    code, status = "SQ-1520", 502
    remedy = "check the network, the proxy settings (HTTPS_PROXY, NO_PROXY) and the mirror's address, and try again"
    mirror: str | None = None


class MirrorAnswerWrong(ImageDownloadError):
    """What a mirror of the distribution gave is not what was announced, and nothing of it was kept."""

    code, status = "SQ-1521", 502
    remedy = "try again: a mirror may be in the middle of an update; if it stays so, use another mirror"
    mirror: str | None = None


class MirrorNotTrusted(ImageDownloadError):
    """Nobody can tell whether what a mirror says comes from the distribution."""

    code, status = "SQ-1522", 403
    remedy = "use a mirror with https, and install gpgv and the distribution's keys (Debian: debian-archive-keyring)"
    mirror: str | None = None


class DebianReleaseNotFound(ImageBuildError):
    """No mirror has this release of the distribution, or not for this machine."""

    code, status = "SQ-1523", 404
    remedy = "name a release that the mirrors carry, such as bookworm"
    release: str | None = None


class DebianPackageInvalid(ImageBuildError):
    """The file of a package is damaged, or has something in it that no root may have."""

    code, status = "SQ-1524", 422
    remedy = "leave the package out, or install it in a step of the image, where its own programs unpack it"
    package: str | None = None


class PythonUnavailable(ImageBuildError):
    """No Python that could be found works in this image."""

    code, status = "SQ-1525", 409
    remedy = (
        "run the program with a Python of the version that the image wants, take a base that has it, "
        "or let this machine reach the releases of python-build-standalone on GitHub"
    )
    minor: str | None = None


class ImageNameNotFound(NotFoundError):
    """No image is published under this name, or it is not here any more."""

    code, status = "SQ-1530", 404
    remedy = "publish an image under it: `image.publish(NAME)` or `squall image publish KEY NAME`; `squall image names list` shows the names that there are"
    name: str | None = None
