"""Image installs: the methods of `Image` that add packages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Self

from squall.model.errors import InvalidError
from squall.model.image_steps import AptInstall, Dialect
from squall.sdk.image_declared import Apt, Chain, Gpu, Path, Sync, flat_words, settings_of
from squall.sdk.image_packages import Words, install, read_options
from squall.sdk.secret import Secret, checked_secrets

Secrets = Iterable[Secret] | None


class Installs(Chain):
    """What installs packages of Python or of the distribution."""

    __slots__ = ()

    def pip_install(
        self,
        *packages: str | Iterable[str],
        find_links: Words = None,
        index_url: str | None = None,
        extra_index_url: Words = None,
        pre: bool = False,
        extra_options: str = "",
        env: Mapping[str, str] | None = None,
        secrets: Secrets = None,
        gpu: Gpu = None,
        force_build: bool = False,
    ) -> Self:
        """With these packages, chosen by pip's rules: the best version that any index has.

        packages: as on pip's command line, options apart: those go into extra_options. env, secrets: variables for this
        step only. gpu: devices that the step has while it runs, as for `@app.function`, for packages that are built for one.
        force_build: install anew, also where this image was built before. Raises InvalidError.
        """
        common = _common("pip_install", "pip", gpu, secrets, force_build=force_build)
        return self.with_step(
            install(
                packages,
                places=(find_links, index_url, extra_index_url),
                options=extra_options,
                pre=pre,
                env=env,
                **common,
            )
        )

    def uv_pip_install(
        self,
        *packages: str | Iterable[str],
        requirements: Words = None,
        find_links: Words = None,
        index_url: str | None = None,
        extra_index_url: Words = None,
        pre: bool = False,
        extra_options: str = "",
        uv_version: str | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Secrets = None,
        gpu: Gpu = None,
        force_build: bool = False,
    ) -> Self:
        """With these packages, chosen by uv's rules: from the first index that has a package.

        requirements: requirements files, read when the image is needed. uv_version: the uv that installs. The rest
        is as for `pip_install`. Raises InvalidError.
        """
        common = _common("uv_pip_install", "uv", gpu, secrets, force_build=force_build)
        return self.with_step(
            install(
                packages,
                places=(find_links, index_url, extra_index_url),
                options=extra_options,
                files=requirements,
                pre=pre,
                env=env,
                uv_version=uv_version,
                **common,
            )
        )

    def pip_install_from_requirements(
        self,
        requirements_txt: Path,
        *,
        find_links: Words = None,
        index_url: str | None = None,
        extra_index_url: Words = None,
        pre: bool = False,
        extra_options: str = "",
        env: Mapping[str, str] | None = None,
        secrets: Secrets = None,
        gpu: Gpu = None,
        force_build: bool = False,
    ) -> Self:
        """With the packages of a requirements file, which is read when the image is needed. Raises InvalidError."""
        common = _common("pip_install_from_requirements", "pip", gpu, secrets, force_build=force_build)
        return self.with_step(
            install(
                (),
                places=(find_links, index_url, extra_index_url),
                options=extra_options,
                files=os.fspath(requirements_txt),
                pre=pre,
                env=env,
                **common,
            )
        )

    def pip_install_from_pyproject(
        self,
        pyproject_toml: Path,
        optional_dependencies: Iterable[str] = (),
        *,
        find_links: Words = None,
        index_url: str | None = None,
        extra_index_url: Words = None,
        pre: bool = False,
        extra_options: str = "",
        env: Mapping[str, str] | None = None,
        secrets: Secrets = None,
        gpu: Gpu = None,
        force_build: bool = False,
    ) -> Self:
        """With the dependencies of a pyproject.toml, which is read when the image is needed; not with the project itself.

        optional_dependencies: names of groups of it that are wanted too. The rest is as for `pip_install`. Raises
        InvalidError.
        """
        common = _common("pip_install_from_pyproject", "pip", gpu, secrets, force_build=force_build)
        return self.with_step(
            install(
                (),
                places=(find_links, index_url, extra_index_url),
                options=extra_options,
                project=os.fspath(pyproject_toml),
                extras=flat_words("Image.pip_install_from_pyproject", [optional_dependencies]),
                pre=pre,
                env=env,
                **common,
            )
        )

    def uv_sync(
        self,
        dir: Path = "./",  # noqa: A002 - the name that users of this field know
        *,
        groups: Iterable[str] | None = None,
        extras: Iterable[str] | None = None,
        frozen: bool = True,
        extra_options: str = "",
        uv_version: str | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Secrets = None,
        gpu: Gpu = None,
        force_build: bool = False,
    ) -> Self:
        """With what the uv project in a local directory needs, by its uv.lock; not with the project itself, whose source ships.

        Its pyproject.toml and uv.lock are read when the image is needed. groups, extras: dependency groups and optional
        dependencies that are wanted too. frozen: exactly what the lock says; otherwise what it misses is resolved
        anew. The rest is as for `uv_pip_install`. Needs an image with a root of its own. Raises InvalidError.
        """
        left, places = read_options(extra_options)
        if any(places.values()):
            raise InvalidError(
                "Image.uv_sync: extra_options says where packages are, which the project says",
                remedy="write it into pyproject.toml, as [[tool.uv.index]]",
            )
        step = Sync(
            directory=os.fspath(dir),
            groups=flat_words("Image.uv_sync", [groups or ()]),
            extras=flat_words("Image.uv_sync", [extras or ()]),
            frozen=bool(frozen),
            extra_options=left,
            uv_version=uv_version,
            secrets=checked_secrets("Image.uv_sync", secrets),
            **settings_of("uv_sync", env, gpu, force_build=force_build),
        )
        return self.with_step(step)

    def apt_install(
        self,
        *packages: str | Iterable[str],
        env: Mapping[str, str] | None = None,
        secrets: Secrets = None,
        gpu: Gpu = None,
        force_build: bool = False,
    ) -> Self:
        """With these packages of the distribution: Debian, or one that is made like it.

        packages: names, each with a version ("curl=8.14.1-2") where one is wanted. env, secrets, gpu, force_build: as for
        `pip_install`. Needs an image with a root of its own. Raises InvalidError.
        """
        found = flat_words("Image.apt_install", packages)
        try:
            AptInstall(packages=found)
        except ValueError as wrong:
            raise InvalidError(
                f"Image.apt_install: {wrong}", remedy='name packages as strings: `.apt_install("ffmpeg")`'
            ) from None
        return self.with_step(
            Apt(
                packages=found,
                secrets=checked_secrets("Image.apt_install", secrets),
                **settings_of("apt_install", env, gpu, force_build=force_build),
            )
        )


def _common(method: str, dialect: Dialect, gpu: Any, secrets: Any, *, force_build: bool) -> dict[str, Any]:
    """The fields that every install step of Python packages has."""
    settings = settings_of(method, None, gpu, force_build=force_build)
    return {
        "method": method,
        "dialect": dialect,
        "secrets": checked_secrets(f"Image.{method}", secrets),
        "build_id": settings["build_id"],
        "gpu": settings["gpu"],
    }
