"""Database URL: what may stand in the option `database`."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs, urlsplit

_SCHEMES: Final = ("postgresql", "postgres")
_SECRET: Final = ("password", "sslpassword")


def wrong_with(url: str) -> str:
    """What is wrong with the URL of a Postgres database, "" if nothing is.

    Says no word of the URL: where it is wrong, it may hold what nobody may read.
    """
    try:
        parts = urlsplit(url)
        asked = parse_qs(parts.query)
        port = parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme not in _SCHEMES:
        return "does not begin with `postgresql://`"
    if parts.password is not None or any(name in asked for name in _SECRET):
        return "holds a password, which must not stand there: give it by PGPASSWORD, or in a file that the option `database_password_file` names"
    if not parts.path.strip("/") and "dbname" not in asked and "database" not in asked:
        return "names no database"
    return "has the port 0" if port == 0 else ""
