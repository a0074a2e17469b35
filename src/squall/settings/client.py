"""The client's server: the one that SQUALL_SERVER names, or this machine's own."""

import os
from collections.abc import Mapping
from pathlib import Path

from squall.model.errors import FeatureUnavailable, InvalidError


def named_server(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The socket of the server that SQUALL_SERVER names; None where this machine's own is meant.

    Written as unix:/path, unix:///path or /path. Raises FeatureUnavailable for a network address, InvalidError for anything else.
    """
    value = environ.get("SQUALL_SERVER", "").strip()
    if not value:
        return None
    scheme, colon, rest = value.partition(":")
    if scheme == "unix" and colon:
        path = rest.removeprefix("//")
    elif value.startswith("/"):
        path = value
    elif colon:
        raise FeatureUnavailable(
            f"SQUALL_SERVER={value!r}: a server cannot be reached over the network in this version",
            remedy="run squall on the machine of the server, or forward its socket: "
            "`ssh -L /tmp/squall.sock:/path/to/run/server.sock HOST` and SQUALL_SERVER=unix:/tmp/squall.sock",
        )
    else:
        raise _unusable(value, "it is neither a path nor an address")
    if not path.startswith("/"):
        raise _unusable(value, "the path of a socket must be absolute")
    return Path(path)


def _unusable(value: str, why: str) -> InvalidError:
    return InvalidError(
        f"SQUALL_SERVER={value!r} cannot be used: {why}",
        remedy="give the path of a server's socket (unix:/path/to/server.sock), "
        "or unset it to use this machine's own server",
    )
