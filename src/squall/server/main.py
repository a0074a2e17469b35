"""The server's wiring: stores, socket, planner, and the end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
from functools import partial
from pathlib import Path

from squall.blobs.disk_blobs import DiskBlobs
from squall.server.api import connect
from squall.server.house import House, Stores
from squall.settings.event_loop import loop_factory
from squall.settings.options import Options, read_options
from squall.settings.paths import StatePaths, open_state
from squall.state.log_lines import LogLimits
from squall.state.log_store import LogStore
from squall.state.postgres_address import PostgresAddress
from squall.state.postgres_state import PostgresState
from squall.state.sqlite_file import DatabaseOptions, Synchronous
from squall.state.sqlite_state import SqliteState
from squall.state.state_store import StateStore
from squall.wire.address import Peer
from squall.wire.endpoint import listen
from squall.wire.socket_channel import SocketChannel


def main(argv: list[str]) -> int:
    """The exit status: 0 when the server ended in good order (idle, or told to)."""
    parser = argparse.ArgumentParser(prog="squall.server")
    parser.add_argument("--state", required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    paths = open_state(arguments.state)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(serve(paths, read_options(paths.config)))


async def serve(paths: StatePaths, options: Options) -> int:
    """Serves clients and agents until idle or told to end."""
    state = await open_record(paths, options)
    blobs = await DiskBlobs.open(paths.blobs)
    kept = LogLimits(app_bytes=int(options.log_keep_bytes), keep_s=options.log_keep_s)
    logs = await LogStore.open(paths.logs / "apps", kept)
    async with asyncio.TaskGroup() as tasks:
        house = House(Stores(blobs, state, logs, paths), options, tasks)

        def on_socket(sock: socket.socket, _peer: Peer) -> None:
            connect(house, SocketChannel(sock))

        house.connect = partial(connect, house)
        # Before anybody comes: what is remembered of tokens decides who may.
        await house.access.reread()
        await house.vault.load()
        await house.deploys.load()
        endpoint = listen(paths.server_socket, on_socket)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, house.end.set)
        loop.add_signal_handler(signal.SIGINT, house.end_all)
        lasting = [tasks.create_task(work) for work in house.lasting()]
        await house.end.wait()
        endpoint.close()
        house.listening.close()
        # Apps outlive a server that makes room for the next one, as they outlive one that is killed; deployed ones any other too.
        if house.ends_apps:
            house.deploys.rest()
        for app in list(house.apps.apps) if house.ends_apps else ():
            with contextlib.suppress(Exception):
                if app not in house.deploys.versions:
                    house.apps.stop(app, why="server ended")
        house.give_up_answers()
        for task in lasting:
            task.cancel()
    await logs.close()
    await state.close()
    await blobs.close()
    return 0


async def open_record(paths: StatePaths, options: Options) -> StateStore:
    """The record, where the machine's owner wants it kept."""
    if options.database:
        return await PostgresState.open(postgres_address(options))
    synchronous = Synchronous(options.sqlite_synchronous)
    return await SqliteState.open(paths.database, DatabaseOptions(synchronous=synchronous))


def postgres_address(options: Options) -> PostgresAddress:
    """Where the record is, of a machine whose owner keeps it in Postgres."""
    secret = Path(options.database_password_file) if options.database_password_file else None
    return PostgresAddress(url=options.database, password_file=secret)
