"""Bucket mount: a bucket, or what of it lies below a prefix, as a folder of a function's containers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from squall.model.bucket_address import BUCKET_NAME
from squall.model.errors import BucketMountInvalid
from squall.model.secret import SecretUse

_LONGEST: Final = 512
KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""The variables that a secret must have to open a bucket."""
BESIDE_KEYS: Final = ("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Those that it may have beside them."""
MOST_BUCKETS: Final = 16
"""In one container."""
# What containers need to be what they are.
_TAKEN: Final = frozenset(
    {"app", "bin", "dev", "etc", "lib", "lib64", "proc", "root", "sbin", "sys", "tmp", "usr"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketMount:
    """One bucket at one path. Its keys are no part of it, only which secret has them.

    path: absolute, without a slash at its end. secret: that of its keys; None where nobody needs any. prefix: what lies below it is shown, and nothing else is reached; without
    slashes at its ends. endpoint: the service, None for that of AWS. force_path_style: the bucket is named by the path
    of each request, never by its host.
    """

    path: str
    bucket: str
    endpoint: str | None = None
    prefix: str = ""
    secret: SecretUse | None = None
    read_only: bool = False
    requester_pays: bool = False
    force_path_style: bool = False

    def __post_init__(self) -> None:
        check_mount_path(self.path)
        if not BUCKET_NAME.fullmatch(self.bucket):
            raise ValueError(
                f"{self.bucket[:80]!r} is no name of a bucket: 3 to 63 small letters, digits, dots and hyphens"
            )
        names = self.prefix.split("/") if self.prefix else []
        if len(self.prefix.encode()) > _LONGEST or not all(map(_names_a_folder, names)):
            raise ValueError(f"{self.prefix[:80]!r} is no prefix of keys: write `folder/` or `folder/below/`")


def check_mount_path(path: str) -> None:
    """Raises ValueError where nothing can be mounted in a container."""
    names = path.split("/")[1:]
    if not path.startswith("/") or not all(map(_names_a_folder, names)) or len(path.encode()) > _LONGEST:
        raise ValueError(f"{path[:80]!r} is no absolute path of a folder: write `/data`")
    if len(names) == 1 and names[0] in _TAKEN:
        raise ValueError(f"nothing can be mounted over {path}: choose a folder of its own, such as `/data`")


def check_buckets(mounts: Sequence[BucketMount], beside: Sequence[str]) -> None:
    """Raises BucketMountInvalid where one lies at, in or around another, or one of the paths `beside`."""
    paths = [mount.path for mount in mounts]
    if len(mounts) > MOST_BUCKETS:
        raise BucketMountInvalid(f"a container has at most {MOST_BUCKETS} buckets, and not {len(mounts)}")
    for at, one in enumerate(paths):
        for other in (*paths[:at], *beside):
            if f"{other}/".startswith(f"{one}/") or f"{one}/".startswith(f"{other}/"):
                raise BucketMountInvalid(
                    f"a bucket is mounted at {one}, and something else at {other}",
                    remedy="mount each at a directory of its own, none within another's",
                )


def _names_a_folder(name: str) -> bool:
    return name not in {"", ".", ".."} and all(ord(char) > 31 and ord(char) != 127 for char in name)
