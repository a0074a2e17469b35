"""All state stores pass the same checks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from squall.state.memory_state import MemoryState
from squall.state.postgres_address import PostgresAddress
from squall.state.postgres_state import PostgresState
from squall.state.sqlite_file import DatabaseOptions, Synchronous
from squall.state.sqlite_state import SqliteState
from squall.state.state_store import StateStore
from squall.testing.conformance import (
    access,
    contract,
    deploys,
    image_names,
    secrets,
    sharing,
    state_store,
    volumes,
)


async def make(kind: str, directory: Path, address: str) -> StateStore:
    if kind == "memory":
        return MemoryState()
    if kind == "postgres":
        return await PostgresState.open(PostgresAddress(url=address))
    return await SqliteState.open(
        directory / "squall.db", DatabaseOptions(synchronous=Synchronous(kind.removeprefix("sqlite-")))
    )


@pytest.mark.parametrize("kind", ["memory", "sqlite-normal", "sqlite-full", "postgres"])
@pytest.mark.parametrize(
    "check",
    [
        *state_store.CHECKS,
        *image_names.CHECKS,
        *access.CHECKS,
        *contract.CHECKS,
        *deploys.CHECKS,
        *sharing.CHECKS,
        *secrets.CHECKS,
        *volumes.CHECKS,
    ],
    ids=lambda check: check.__name__,
)
def test_state_store(
    kind: str, check: state_store.Check, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    # Asked for only where it is used: the others run where no Postgres is.
    address = request.getfixturevalue("postgres_address") if kind == "postgres" else ""

    async def run() -> None:
        store = await make(kind, tmp_path, address)
        try:
            await check(store)
        finally:
            await store.close()

    asyncio.run(run())
