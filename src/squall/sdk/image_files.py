"""Image files: the methods of `Image` that add local files."""

from __future__ import annotations

import os
from typing import Final, Self

from squall.model.errors import InvalidError
from squall.model.image import SOURCE_ROOT
from squall.model.image_paths import check_remote
from squall.sdk.image_declared import Chain, Ignore, Local, Path, kept

PYTHON_ONLY: Final = ("**", "!**/*.py", "!**/*.pyi", "!**/py.typed")


class Adds(Chain):
    """What adds files of the client's machine."""

    __slots__ = ()

    def add_local_file(self, local_path: Path, remote_path: str, *, copy: bool = False) -> Self:
        """With a local file at an absolute path, or in a directory where that ends in "/".

        The file is there when a container starts, and editing it builds nothing; with copy=True it is a part of the
        image, which later steps see. Raises InvalidError.
        """
        local = os.fspath(local_path)
        remote = remote_path + os.path.basename(local) if remote_path.endswith("/") else remote_path
        return self.with_step(Local(kind="file", local=local, remote=remote, copy=copy))

    def add_local_dir(
        self, local_path: Path, remote_path: str, *, copy: bool = False, ignore: Ignore = ()
    ) -> Self:
        """With all files of a local directory at an absolute path, but for those that `ignore` names.

        ignore: patterns as in a .dockerignore, or a function that is true for what stays away. copy: as for
        `add_local_file`. Raises InvalidError.
        """
        remote = remote_path.rstrip("/") or "/"
        local = os.fspath(local_path)
        return self.with_step(Local(kind="dir", local=local, remote=remote, copy=copy, ignore=kept(ignore)))

    def add_local_python_source(
        self, *modules: str, copy: bool = False, ignore: Ignore = PYTHON_ONLY
    ) -> Self:
        """With local modules or packages, by the names that they are imported by; importable in containers.

        ignore: as for `add_local_dir`; by default all that is not Python. Raises InvalidError.
        """
        image = self
        for module in modules:
            if not module.isidentifier():
                raise InvalidError(
                    f"Image.add_local_python_source: {module!r} is no name of a top-level module or package",
                    remedy="name the package as it is imported, without dots and without `.py`",
                )
            remote = f"{SOURCE_ROOT}/{module}"
            image = image.with_step(
                Local(kind="python_source", local=module, remote=remote, copy=copy, ignore=kept(ignore))
            )
        return image


def check_place(step: Local, *, own_root: bool) -> None:
    """Raises InvalidError where its files may not go where it puts them."""
    try:
        check_remote(step.remote, own_root=own_root)
    except ValueError as wrong:
        raise InvalidError(
            f"Image.add_local_{step.kind}: {wrong}",
            remedy="name an absolute path such as /data, or one below /app",
        ) from None
