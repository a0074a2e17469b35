"""Postgres address: which database of which server keeps the record; it never holds a password."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from squall.model.errors import InvalidError

_SCHEMES: Final = ("postgresql", "postgres")
_SECRET: Final = ("password", "sslpassword")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresAddress:
    """A database by its URL: postgresql://user@host:port/name, or postgresql://user@/name?host=/directory/of/a/socket.

    password_file: a file that holds the password; without one it is looked for where Postgres' own programs do
    (PGPASSWORD, PGPASSFILE, ~/.pgpass). Raises InvalidError for a URL that is none, or holds a password: what is
    in a URL ends in logs.
    """

    url: str
    password_file: Path | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        why = _wrong(self.url)
        if why:
            raise InvalidError(
                f"the address of the database {why}",
                remedy="write `postgresql://user@host/name`, and give the password by PGPASSWORD, by PGPASSFILE, or "
                "in a file that the option `database_password_file` names",
            )

    def __str__(self) -> str:
        return self.url


def _wrong(url: str) -> str:
    """What is wrong with it, without a word of it: it may hold what nobody may read."""
    try:
        parts = urlsplit(url)
        asked = parse_qs(parts.query)
        port = parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme not in _SCHEMES:
        return "does not begin with `postgresql://`"
    if parts.password is not None or any(name in asked for name in _SECRET):
        return "holds a password, which must not stand there"
    if not parts.path.strip("/") and "dbname" not in asked and "database" not in asked:
        return "names no database"
    return "has the port 0" if port == 0 else ""
