"""Errors of secrets."""

# ruff: noqa: N818 - the names are those of the tree, most of them without a suffix

from __future__ import annotations

from squall.model.errors.asked import InvalidError, NotFoundError
from squall.model.errors.root import Error


class SecretNotFound(NotFoundError):
    """There is no secret of this name in this environment."""

    code, status = "SQ-1940", 404
    remedy = "make it with `squall secret create NAME VARIABLE...`; `squall secret list` shows those that there are"
    name: str | None = None
    environment: str | None = None


class SecretVariableMissing(InvalidError):
    """A secret lacks a variable that the function requires of it."""

    code, status = "SQ-1941", 422
    remedy = "add it with `squall secret update NAME VARIABLE`, or take it out of `required_keys`"
    name: str | None = None
    missing: list[str] | None = None


class MasterKeyUnusable(Error):
    """The file with the master key, which secrets are sealed with, is missing or not as it should be."""

    code, status = "SQ-1942", 500
    remedy = "put the key file back where it was, with mode 0600; `squall explain options` says where: master_key_file"
    path: str | None = None


class SecretUnreadable(Error):
    """What is on record of a secret cannot be opened: it was changed, or belongs elsewhere."""

    code, status = "SQ-1943", 500
    remedy = "set the secret again: `squall secret create NAME VARIABLE... --force`"
    name: str | None = None


class SecretValueGiven(InvalidError):
    """A value of a secret stands on the command line."""

    code, status = "SQ-1944", 400
    remedy = "name the variable alone: its value is asked for, or read from standard input or a file; then give the secret another value, for this one has been seen"
