"""Image paths: where in a container files and directories of an image may lie."""

from __future__ import annotations

from typing import Final

# What is mounted in every container, and what most distributions have as a link into /usr: a directory would hide it.
_NEVER_GIVEN: Final = (
    "/proc",
    "/sys",
    "/dev",
    "/squall",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
)


def check_absolute(path: str) -> None:
    """Raises ValueError unless `path` is absolute, in its shortest form, and free of NUL."""
    parts = path.split("/")
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"a path in a container is absolute: {path!r}")
    if path != "/" and ("" in parts[1:] or "." in parts or ".." in parts):
        raise ValueError(f"a path in a container is written in its shortest form: {path!r}")


def check_remote(path: str, *, own_root: bool = True) -> None:
    """Raises ValueError unless local files may be put at `path` in a container.

    own_root: the image has a root of its own; without one, /usr is the machine's too.
    """
    check_absolute(path)
    if path == "/":
        raise ValueError("local files go below a directory of the container, not over its root")
    for taken in _NEVER_GIVEN:
        if is_at_or_below(path, taken):
            raise ValueError(
                f"{path} is at or below {taken}, where local files would hide what programs need"
            )
    if not own_root and is_at_or_below(path, "/usr"):
        raise ValueError(f"{path} is below /usr, which is the machine's own and read-only in a container")


def is_at_or_below(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or lies in it."""
    return path == directory or path.startswith(directory + "/")
