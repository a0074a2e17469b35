from __future__ import annotations

from pathlib import Path

import pytest

from squall.model.errors import InvalidError
from squall.state.postgres_address import PostgresAddress


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://squall@db.example/squall",
        "postgres://squall@db.example:5433/squall?sslmode=verify-full",
        "postgresql://squall@/squall?host=/run/postgresql",
        "postgresql://squall@one,two/squall",
        "postgresql:///?dbname=squall",
    ],
)
def test_an_address_names_a_database(url: str) -> None:
    assert str(PostgresAddress(url=url)) == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://squall:hunter2@db/squall", "holds a password"),
        ("postgresql://squall:@db/squall", "holds a password"),
        ("postgresql://squall@db/squall?password=hunter2", "holds a password"),
        ("postgresql://squall@db/squall?sslpassword=hunter2", "holds a password"),
        ("mysql://hunter2@db/squall", "does not begin"),
        ("hunter2", "does not begin"),
        ("postgresql://squall@db", "names no database"),
        ("postgresql://squall@db/", "names no database"),
        ("postgresql://squall@db:hunter2/squall", "is no URL"),
        ("postgresql://squall@[hunter2/squall", "is no URL"),
    ],
)
def test_a_wrong_address_is_refused_without_a_word_of_it(url: str, why: str) -> None:
    with pytest.raises(InvalidError, match=why) as caught:
        PostgresAddress(url=url)
    assert "hunter2" not in f"{caught.value}{caught.value.remedy}{caught.value.__cause__}"


def test_where_the_password_is_does_not_show() -> None:
    address = PostgresAddress(url="postgresql://u@h/d", password_file=Path("/secrets/of-postgres"))
    assert "secrets" not in f"{address!r}{address}"
