"""Image installs: the methods of `Image` that add packages."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

from squall.images.conda.channels import addresses
from squall.model.errors import InvalidError
from squall.model.image_steps import AptInstall, Dialect, PoetryInstall
from squall.sdk.image_conda import checked_conda_packages
from squall.sdk.image_declared import (
    Apt,
    Chain,
    Conda,
    Gpu,
    Path,
    PoetryProject,
    Sync,
    flat_words,
    settings_of,
)
from squall.sdk.image_packages import Words, install, read_options
from squall.sdk.image_repositories import private_packages
from squall.sdk.secret import Secret, checked_secrets

Secrets = Iterable[Secret] | None
_GROUP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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

    def pip_install_private_repos(
        self,
        *repositories: str | Iterable[str],
        git_user: str,
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
        """With the packages that lie in these private git repositories: "github.com/owner/name@v1.0", a branch or a commit.

        git_user: whom their servers know. secrets: with a token for each server: GITHUB_TOKEN for github.com, GITLAB_TOKEN for
        gitlab.com, and for another the one variable that there is besides. It is told to that server only, and is in no command line, no
        layer, no key and no log. The image needs git: `.apt_install("git")`. A branch is looked up once; force_build looks
        again. The rest is as for `pip_install`. Raises InvalidError.
        """
        common = _common("pip_install_private_repos", "pip", gpu, secrets, force_build=force_build)
        variables = tuple(dict.fromkeys(name for secret in common["secrets"] for name in secret.names))
        packages, login = private_packages(repositories, git_user, variables)
        return self.with_step(
            install(
                packages,
                places=(find_links, index_url, extra_index_url),
                options=extra_options,
                pre=pre,
                env=env,
                git=login,
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

    def poetry_install_from_file(
        self,
        poetry_pyproject_toml: Path,
        poetry_lockfile: Path | None = None,
        *,
        ignore_lockfile: bool = False,
        poetry_version: str | None = "latest",
        with_: Iterable[str] = (),
        without: Iterable[str] = (),
        only: Iterable[str] = (),
        extra_options: str = "",
        env: Mapping[str, str] | None = None,
        secrets: Secrets = None,
        gpu: Gpu = None,
        force_build: bool = False,
    ) -> Self:
        """With what a Poetry project needs, by its poetry.lock; not with the project itself, whose source ships.

        Its files are read when the image is needed. poetry_lockfile: poetry.lock beside the other by default; with
        ignore_lockfile=True all is resolved anew. poetry_version: the Poetry that reads the lock, in an environment of its own that is
        no part of the image; None for the one that the image has. with_, without, only: dependency groups, as for
        `poetry install`. extra_options: of `poetry export`, which tells our installer what to install: "--all-extras". The rest is as
        for `uv_pip_install`. Needs an image with a root of its own. Raises InvalidError.
        """
        method = "poetry_install_from_file"
        left, places = read_options(extra_options)
        if any(places.values()):
            raise InvalidError(
                f"Image.{method}: extra_options says where packages are, which the project says",
                remedy="write it into pyproject.toml, as [[tool.poetry.source]]",
            )
        version = "" if poetry_version is None else poetry_version
        try:
            PoetryInstall(pyproject="[project]", poetry_version=version)
        except (ValueError, TypeError):
            raise InvalidError(
                f"Image.{method}: {poetry_version!r} is no version of Poetry",
                remedy='write one: "2.1.4", or "latest"',
            ) from None
        step = PoetryProject(
            pyproject=os.fspath(poetry_pyproject_toml),
            lockfile="" if poetry_lockfile is None else os.fspath(poetry_lockfile),
            ignore_lockfile=bool(ignore_lockfile),
            groups=(_groups(method, with_), _groups(method, without), _groups(method, only)),
            poetry_version=version,
            extra_options=left,
            secrets=checked_secrets(f"Image.{method}", secrets),
            **settings_of(method, env, gpu, force_build=force_build),
        )
        return self.with_step(step)

    def micromamba_install(
        self,
        *packages: str | Iterable[str],
        spec_file: Path | None = None,
        channels: str | Iterable[str] = (),
        env: Mapping[str, str] | None = None,
        secrets: Secrets = None,
        gpu: Gpu = None,
        force_build: bool = False,
    ) -> Self:
        """With these conda packages in the environment that `Image.micromamba()` begins: "numpy", "numpy=2.1", "numpy>=2,<3".

        spec_file: an environment.yml, with its `pip:` part, or a list of package files (`conda list --explicit`); it is
        read when the image is needed. channels: names or addresses, of which the first that has a package gives it;
        without any, the file's, and else conda-forge. env, secrets, gpu, force_build: as for `pip_install`. Raises
        InvalidError.
        """
        step = Conda(
            packages=checked_conda_packages(packages),
            spec_file=os.fspath(spec_file) if spec_file is not None else "",
            channels=flat_words("Image.micromamba_install: channels", [channels]),
            secrets=checked_secrets("Image.micromamba_install", secrets),
            **settings_of("micromamba_install", env, gpu, force_build=force_build),
        )
        if not step.packages and not step.spec_file:
            raise InvalidError(
                "Image.micromamba_install names no package",
                remedy='name at least one: `.micromamba_install("numpy")`',
            )
        addresses(step.channels)
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


def _groups(method: str, names: Iterable[str]) -> tuple[str, ...]:
    """Names of dependency groups. Raises InvalidError."""
    found = flat_words(f"Image.{method}", [names])
    for name in found:
        if not _GROUP.fullmatch(name):
            raise InvalidError(
                f"Image.{method}: {name!r} is no name of a dependency group",
                remedy='name groups: with_=["test"]',
            )
    return found


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
