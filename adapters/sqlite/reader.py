"""Reads: on connections and threads of their own, so that they never wait for the writer."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from adapters.sqlite.database import Database, connect_reader

__all__ = ["Reader"]

_T = TypeVar("_T")

_THREADS = 4


class Reader:
    """Runs queries against the snapshot that stands when each begins."""

    def __init__(self, database: Database) -> None:
        """Prepare for queries; threads and connections are made when they are needed."""
        self._database = database
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="event-log-reader")
        self._idle: list[sqlite3.Connection] = []

    async def run(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run a query and return what it returns.

        Raises:
            sqlite3.Error: The storage fails.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, query)

    def close(self) -> None:
        """Finish the queries that run, then close the connections. Blocks."""
        self._executor.shutdown()
        for connection in self._idle:
            connection.close()

    def _run(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = connect_reader(self._database)
        try:
            result = query(connection)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return result
