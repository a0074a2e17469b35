"""How: by what means of this machine a root is made."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from squall.images.debian.signature import Verifier, find_verifier
from squall.images.oci.limits import LIMITS, Limits
from squall.images.registry.patience import Patience

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a root is made on this machine.

    verifier: what verifies signatures; None: then only mirrors that nobody on the way can change are asked. environ: for
    proxies and certificates. at_once: files fetched at the same time. clock: seconds since 1970.
    """

    verifier: Verifier | None = field(default_factory=find_verifier)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    patience: Patience = field(default_factory=Patience)
    limits: Limits = LIMITS
    at_once: int = 6
    clock: Callable[[], float] = time.time
