"""Errors of who may come in: tokens, scopes, machines that join."""

# ruff: noqa: N818 - the names are those that users of this field know, most of them without a suffix

from __future__ import annotations

from squall.model.errors.asked import AuthError, ConflictError, InvalidError, PermissionDeniedError


class TokenRefused(AuthError):
    """The token is unknown, revoked, expired or used up."""

    code, status = "SQ-1620", 401
    remedy = "have the server's owner make a new one: `squall token new`"


class NodeRefused(AuthError):
    """The server does not let this machine in."""

    code, status = "SQ-1621", 401
    remedy = "join again with a new token: `squall token new --join` on the server, `squall join` here"


class ListenRefused(InvalidError):
    """The server may not, or cannot, listen there."""

    code, status = "SQ-1623", 400
    remedy = "give an address of this machine and a free port: `squall up --listen HOST:PORT`"


class MachineJoined(ConflictError):
    """This machine runs containers for another machine's server."""

    code, status = "SQ-1624", 409
    remedy = (
        "name the server to use (SQUALL_SERVER, or a profile), or take the machine back with `squall leave`"
    )


class ScopeMissing(PermissionDeniedError):
    """The token does not allow this."""

    code, status = "SQ-1625", 403
    remedy = "use a token with the scope that the message names: `squall token new --scope ...`"
    needed: str | None = None
