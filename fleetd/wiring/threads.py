"""Threads that nobody waits for when the process ends.

asyncio looks up names in its default executor, and the end of a loop waits for that executor's threads. A name server
that does not answer holds such a thread for minutes, and no timeout of a request ends it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MOST = 64
"""Jobs at one time. Each host is looked up once at a time, however many wait for it."""


class Abandonable(ThreadPoolExecutor):
    """A daemon thread for each job. A ``ThreadPoolExecutor`` because asyncio takes no other for its default.

    Only for jobs that may be cut off at any point, as look-ups may.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=1)
        self._room = threading.BoundedSemaphore(MOST)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begin the job at once.

        Raises:
            OSError: ``MOST`` of them are under way.
        """
        if not self._room.acquire(blocking=False):
            raise OSError(f"{MOST} look-ups are under way, and none of them ends")
        future: Future[T] = Future()

        def work() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as e:  # noqa: BLE001 - the future raises it where it is awaited
                future.set_exception(e)
            else:
                future.set_result(result)
            finally:
                self._room.release()

        future.set_running_or_notify_cancel()
        threading.Thread(target=work, name="fleetd-lookup", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for nothing."""
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        del wait


def abandon_lookups() -> None:
    """Have the running loop look up names in threads that its end does not wait for."""
    loop = asyncio.get_running_loop()
    if not isinstance(getattr(loop, "_default_executor", None), ThreadPoolExecutor):
        loop.set_default_executor(Abandonable())
