"""Readers: threads that look into a database beside its writer, each with a connection of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from squall.blobs.threads import in_thread
from squall.model.errors import StoreClosed
from squall.state.connection import Connection, Database

T = TypeVar("T")


class Readers:
    """The one place from which reads leave for a thread; writes leave by `GroupCommit`.

    threads: how many looks there are at once; the others wait. A look on a connection that is lost is taken again on
    another one.
    """

    def __init__(self, database: Database, threads: int) -> None:
        self._database = database
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="state-reader")
        self._mine = threading.local()
        self._open: list[Connection] = []
        self._closed = False

    async def read(self, look: Callable[[Connection], T]) -> T:
        """What `look` sees. Raises StoreClosed."""
        if self._closed:
            raise StoreClosed
        loop = asyncio.get_running_loop()
        return await in_thread(loop.run_in_executor(self._threads, self._look, look))

    async def close(self) -> None:
        """Ends the threads, after what they look at, and their connections."""
        self._closed = True
        await asyncio.to_thread(self._end)

    # What follows runs in the threads.

    def _end(self) -> None:
        self._threads.shutdown()
        for connection in self._open:
            connection.close()

    def _look(self, look: Callable[[Connection], T]) -> T:
        while True:
            connection: Connection | None = getattr(self._mine, "connection", None)
            try:
                if connection is None:
                    connection = self._database.open_reader()
                    self._keep(connection)
                return look(connection)
            except Exception as error:
                if not self._database.lost(error):
                    raise self._database.named(error) from error
            self._keep(self._database.reopen_reader(connection, lambda: self._closed))

    def _keep(self, connection: Connection) -> None:
        self._open = [one for one in self._open if one is not getattr(self._mine, "connection", None)]
        self._open.append(connection)
        self._mine.connection = connection
