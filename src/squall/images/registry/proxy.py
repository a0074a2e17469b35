"""Proxy: which one the environment wants for a place. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from squall.images.registry.location import Location, is_loopback
from squall.settings import proxy
from squall.settings.proxy import Proxy


def proxy_for(place: Location, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for `place`, or None; never one for this machine itself. Raises InvalidError like the settings do."""
    if is_loopback(place.host):
        return None
    return proxy.proxy_for(place.scheme, place.host, place.port, environ)


__all__ = ["Proxy", "proxy_for"]
