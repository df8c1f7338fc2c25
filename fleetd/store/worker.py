"""One thread for blocking work, whose jobs are always carried through to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

import anyio

T = TypeVar("T")


class Worker:
    """Runs functions one after the other, off the event loop.

    Args:
        executor: runs one job at a time, always on the same thread; ``close`` leaves it alone. Default: a thread
            of the worker's own.
    """

    def __init__(self, executor: Executor | None = None) -> None:
        self._own = None if executor else ThreadPoolExecutor(max_workers=1, thread_name_prefix="fleetd-journal")
        self._executor = executor or self._own

    async def run(self, job: Callable[[], T]) -> T:
        """The job's result or error, once it has ended.

        In a cancelled anyio scope it runs all the same and the cancellation waits for the caller's next await. After
        a bare ``Task.cancel()`` the job is awaited as well, then CancelledError is raised, with the job's own error
        as its cause if it had one.
        """
        return await carried_through(lambda: asyncio.get_running_loop().run_in_executor(self._executor, job))

    def close(self) -> None:
        """Let the thread end. No job may follow."""
        if self._own is not None:
            self._own.shutdown(wait=False)


async def carried_through(begin: Callable[[], asyncio.Future[T]]) -> T:
    """What ``begin`` has begun, once it has ended; ``Worker.run`` says what cancellation does meanwhile."""
    with anyio.CancelScope(shield=True):
        future = begin()
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait({future})
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled from future.exception()
    return future.result()
