"""Postgres address: which database of which server keeps the record; it never holds a password."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from squall.model.errors import InvalidError
from squall.settings.database_url import wrong_with


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
        why = wrong_with(self.url)
        if why:
            raise InvalidError(
                f"the address of the database {why}",
                remedy="write `postgresql://user@host/name`",
            )

    def __str__(self) -> str:
        return self.url
