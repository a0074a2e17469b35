"""Errors of tunnels: ways from an address of a machine to a port in a container."""

# ruff: noqa: N818 - the names are those that users of this field know, most of them without a suffix

from __future__ import annotations

from squall.model.errors.asked import FeatureUnavailable, PermissionDeniedError
from squall.model.errors.containers import ResourceExhaustedError


class TunnelUnavailable(FeatureUnavailable):
    """A tunnel of this kind does not exist here."""

    code, status = "SQ-1626", 501
    remedy = "call `squall.forward(port, unencrypted=True)` in a function that runs in a container"


class TunnelRefused(PermissionDeniedError):
    """The machine does not open this tunnel."""

    code, status = "SQ-1627", 403
    remedy = "give the address of a machine of yours in the option `tunnel_address`, and see that its ports are free"


class TooManyTunnels(ResourceExhaustedError):
    """A container, or a machine, has as many tunnels as it may have."""

    code, status = "SQ-1628", 429
    remedy = "close those that are not needed: a tunnel lives as long as its `with` block"
