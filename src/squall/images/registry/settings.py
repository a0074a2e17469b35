"""Settings: what a client of registries may do, and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass, field

from squall.images.registry.location import Location, is_loopback, parse_location
from squall.images.registry.patience import Patience
from squall.images.registry.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """How registries are spoken to.

    insecure: hosts (with their ports) that are spoken to in plain http; those of this machine are, unless
    encrypted names them. private_redirects: a public registry may lead to addresses of private networks.
    at_once: blobs fetched at the same time. chunk_bytes: what an upload in chunks holds in memory.
    """

    insecure: frozenset[str] = frozenset()
    encrypted: frozenset[str] = frozenset()
    private_redirects: bool = False
    at_once: int = 4
    chunk_bytes: int = 8 << 20
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        if min(self.at_once, self.chunk_bytes, self.patience.tries) < 1:
            raise ValueError("at_once, chunk_bytes and tries are at least 1")

    def base_of(self, reference: Reference) -> Location:
        """Where the registry of `reference` answers."""
        host = parse_location(f"https://{reference.endpoint}/").host
        plain = reference.registry in self.insecure or (
            is_loopback(host) and reference.registry not in self.encrypted
        )
        return parse_location(f"{'http' if plain else 'https'}://{reference.endpoint}/")
