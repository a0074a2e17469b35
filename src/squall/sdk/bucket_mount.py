"""Cloud bucket mount: a bucket of S3, or of a service that speaks it, as a folder of containers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from squall.model.bucket_address import is_endpoint
from squall.model.bucket_mount import KEYS, BucketMount
from squall.model.errors import BucketMountInvalid, BucketMountUnavailable
from squall.model.secret import SecretUse
from squall.sdk.secret import Secret, uses_of


@dataclass(frozen=True)
class CloudBucketMount:
    """A bucket that shows as a folder: `volumes={"/data": CloudBucketMount("my-bucket", secret=...)}`.

    bucket_name: the bucket. bucket_endpoint_url: the service that has it (that of AWS). key_prefix: what lies below is shown,
    and nothing else can be reached; it ends in a slash (all of the bucket). secret: the keys, AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN and AWS_REGION where they are needed (none: a public bucket). No container
    sees them. oidc_auth_role_arn: not offered. read_only: nothing can be changed. requester_pays: whoever reads pays for it,
    and agrees to that. force_path_style: the bucket is named in the path of each request, as services of one's own want it.

    Raises InvalidError for what cannot be.
    """

    bucket_name: str
    bucket_endpoint_url: str | None = None
    key_prefix: str | None = None
    secret: Secret | None = None
    oidc_auth_role_arn: str | None = None
    read_only: bool = False
    requester_pays: bool = False
    force_path_style: bool = False

    def __post_init__(self) -> None:
        if self.oidc_auth_role_arn is not None:
            raise BucketMountUnavailable(
                "CloudBucketMount: oidc_auth_role_arn is not offered: there is nobody here who vouches for containers to AWS",
                remedy="give keys: `secret=squall.Secret.from_name(...)`",
                feature="oidc_auth_role_arn",
            )
        if self.secret is not None and not isinstance(self.secret, Secret):
            # Not its repr: what was meant to be a secret may be one.
            raise self._wrong(f"secret is a squall.Secret, not {type(self.secret).__name__}")
        if not isinstance(self.bucket_name, str):
            raise self._wrong(f"bucket_name is a string, not {type(self.bucket_name).__name__}")
        for name in ("read_only", "requester_pays", "force_path_style"):
            if not isinstance(getattr(self, name), bool):
                raise self._wrong(f"{name} is True or False")
        if self.requester_pays and self.secret is None:
            raise self._wrong("requester_pays needs a secret: nobody else can be asked to pay")
        if self.bucket_endpoint_url is not None and not is_endpoint(self.bucket_endpoint_url):
            # Not the URL: some write keys into it.
            raise self._wrong("bucket_endpoint_url is a scheme and a host: `https://s3.example.com`")
        if self.key_prefix is not None and not (
            isinstance(self.key_prefix, str) and self.key_prefix.endswith("/")
        ):
            raise self._wrong(f"key_prefix ends in a slash, as in `runs/`: {self.key_prefix!r} does not")
        self._at("/bucket")

    def _noun(self, path: str) -> BucketMount:
        """The mount at this path, as it travels. Raises InvalidError."""
        return self._at(path)

    def _at(self, path: str) -> BucketMount:
        try:
            return BucketMount(
                path=path,
                bucket=self.bucket_name,
                endpoint=self.bucket_endpoint_url and self.bucket_endpoint_url.rstrip("/"),
                secret=self._use(),
                prefix=(self.key_prefix or "").removesuffix("/"),
                read_only=self.read_only,
                requester_pays=self.requester_pays,
                force_path_style=self.force_path_style,
            )
        except ValueError as wrong:
            raise self._wrong(str(wrong)) from None

    def _use(self) -> SecretUse | None:
        if self.secret is None:
            return None
        uses = uses_of([self.secret])
        if not uses:
            return None
        use = uses[0]
        if use.name:
            return replace(use, required=tuple(dict.fromkeys((*use.required, *KEYS))))
        missing = [name for name in KEYS if name not in use.variables]
        if missing:
            raise self._wrong(f"its secret has no {' and no '.join(missing)}")
        return use

    def _wrong(self, why: str) -> BucketMountInvalid:
        return BucketMountInvalid(f"CloudBucketMount: {why}")


def buckets_of(mounts: Mapping[str, CloudBucketMount]) -> tuple[BucketMount, ...]:
    """What a function says of its buckets. Raises BucketMountInvalid."""
    return tuple(mount._noun(path) for path, mount in sorted(mounts.items()))


def keys_of(mounts: Mapping[str, CloudBucketMount]) -> tuple[Secret, ...]:
    """The secrets of these buckets."""
    return tuple(mount.secret for mount in mounts.values() if mount.secret is not None)
