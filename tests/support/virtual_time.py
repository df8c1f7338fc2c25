"""An asyncio loop on which waiting takes no time, sockets on loopback included.

Real I/O is polled; when nothing is ready, the loop's clock jumps to the next timer instead of sleeping. Client and
server live in the same process and loop: what one end has sent is waited for before the clock moves
(``tests/support/loopback.py``), so the order of events depends on nothing but the program.

    @virtual
    async def test_something(): ...          # a plain test to pytest (and pytest-asyncio), fixtures as usual

    result = run_virtual(main, argument, start=datetime(2026, 3, 1, tzinfo=UTC))

``virtual_clock()`` inside gives the wall clock (the Clock port). What waits for something outside of the loop (a
child process) says so with ``with outside_work():``, else time runs on without it; executors and anyio's worker
threads are known to the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import selectors
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableSet
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import aiohttp.connector
from anyio._backends import _asyncio as anyio_asyncio

from tests.support.inline_executor import InlineExecutor
from tests.support.loopback import Loopback
from tests.support.stillness import Stillness

T = TypeVar("T")

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
"""A Monday."""

PATIENCE = 30.0
"""Real seconds that work outside of the loop may take."""

STILLSTAND = 1_000_000
"""Turns of the loop at one virtual instant after which it is taken to be spinning."""


class Stuck(RuntimeError):
    """Nothing will ever happen again, or nothing but the same; names the tasks that wait."""


class VirtualClock:
    """Wall time that follows the loop's clock, ``step`` aside. Implements ``fleetd.engine.ports.Clock``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: datetime = START) -> None:
        self._loop = loop
        self._start = start
        self._origin = loop.time()
        self._offset = timedelta()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._loop.time() - self._origin) + self._offset

    def step(self, seconds: float) -> None:
        """Set the wall clock forward (or back), as an administrator or NTP would. Timers notice nothing."""
        self._offset += timedelta(seconds=seconds)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self, start: datetime = START) -> None:
        self._now = 0.0
        self._outside = 0
        self._turns = 0
        self._born = 0
        self.loopback = Loopback()
        self.stillness = Stillness(self)
        super().__init__(_JumpingSelector(self))
        self.clock = VirtualClock(self, start)
        self.set_task_factory(_numbered_task)

    def time(self) -> float:
        return self._now

    def next_number(self) -> int:
        self._born += 1
        return self._born

    @contextlib.contextmanager
    def outside_work(self) -> Iterator[None]:
        """While entered, the loop waits for real and its clock stands still."""
        self._outside += 1
        try:
            yield
        finally:
            self._outside -= 1

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        if isinstance(executor, InlineExecutor):
            return self._run_inline(executor, func, *args)
        stack = contextlib.ExitStack()
        stack.enter_context(self.outside_work())
        try:
            future = super().run_in_executor(executor, func, *args)
        except BaseException:
            stack.close()
            raise
        future.add_done_callback(lambda _: stack.close())
        return future

    def _run_inline(self, executor: InlineExecutor, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Without the ways of threads, which cost more than most jobs; known in the loop's next turn, as from one."""
        future: asyncio.Future[T] = self.create_future()
        done = executor.submit(func, *args)

        def tell() -> None:
            if future.cancelled():
                return
            error = done.exception()
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(error)

        self.call_soon(tell)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        # Joins the threads on a thread of its own, which ``run_in_executor`` knows nothing of.
        with self.outside_work():
            await super().shutdown_default_executor()

    async def getaddrinfo(self, host: Any, port: Any, *, flags: int = 0, **hints: int) -> list[Any]:
        # No thread, and no name but localhost: nothing outside of this process is spoken to.
        numeric = "127.0.0.1" if host in {"localhost", b"localhost"} else host
        return socket.getaddrinfo(numeric, port, flags=flags | socket.AI_NUMERICHOST, **hints)

    def _start_serving(self, protocol_factory: Any, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super()._start_serving(protocol_factory, self.loopback.listener(sock), *args, **kwargs)  # type: ignore[misc]

    def _stop_serving(self, sock: socket.socket) -> None:
        self.loopback.deaf(sock)
        super()._stop_serving(sock)  # type: ignore[misc]

    def _sock_connect(self, future: Any, sock: socket.socket, address: Any) -> None:
        super()._sock_connect(future, sock, address)  # type: ignore[misc]
        if not future.done():
            self.loopback.connecting(sock, address, future)

    def _make_socket_transport(self, sock: socket.socket, *args: Any, **kwargs: Any) -> Any:
        return super()._make_socket_transport(self.loopback.end(sock), *args, **kwargs)  # type: ignore[misc]

    def idle(self, timeout: float | None) -> float | None:
        """What to do when no I/O is ready: real seconds to block (None: not at all), after a jump of the clock.

        Raises:
            Stuck: there is nothing to wait for.
        """
        if self._outside:
            return PATIENCE
        if timeout is None:
            raise Stuck(f"no timer, no I/O and no work under way, while these wait:\n{self._waiting()}")
        self._now = max(self._now, self._scheduled[0].when())  # type: ignore[attr-defined]  # exact, unlike adding up
        self._turns = 0
        return None

    def turn(self) -> None:
        self._turns += 1
        if self._turns > STILLSTAND:
            self._turns = 0
            raise Stuck(
                f"{STILLSTAND} turns and the clock still reads {self._now}; these are there:\n{self._waiting()}"
            )

    def late(self) -> Stuck:
        return Stuck(f"work outside of the loop took more than {PATIENCE} s, for one of these:\n{self._waiting()}")

    def _waiting(self) -> str:
        return "\n".join(sorted(_place(task) for task in asyncio.all_tasks(self)))


class _JumpingSelector(selectors.EpollSelector):
    """Never sleeps, and reports what is ready in the order in which it was registered."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop
        self._order: dict[int, int] = {}
        self._registered = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        self._registered += 1
        self._order[key.fd] = self._registered
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.turn()
        ready = self._arrived()
        if not ready and timeout != 0:
            ready = self._wait(timeout)
        ready.sort(key=lambda event: self._order[event[0].fd])
        return ready

    def _arrived(self) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if self._loop.loopback.still:
            return self._loop.stillness.awake(ready)
        began: float | None = None
        while self._loop.loopback.missing({key.fd for key, _ in ready}, self._reading):
            began = began or time.monotonic()
            if time.monotonic() - began > PATIENCE:
                raise self._loop.late()
            time.sleep(0.0001)
            ready = super().select(0)
        return self._loop.stillness.awake(ready)

    def _reading(self, fd: int) -> bool:
        key = self.get_map().get(fd)
        return key is not None and bool(key.events & selectors.EVENT_READ)

    def _wait(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        patience = self._loop.idle(timeout)
        if patience is None:
            return []
        ready = super().select(patience)
        if not ready:
            raise self._loop.late()
        return ready


class _NumberedTask(asyncio.Task):  # type: ignore[type-arg]
    """A task whose place in a set depends on when it was made, not on its address in memory."""

    def __init__(self, *args: Any, number: int, **kwargs: Any) -> None:
        self._number = number
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number


def _numbered_task(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
    assert isinstance(loop, VirtualTimeLoop)
    return _NumberedTask(coro, loop=loop, number=loop.next_number(), **kwargs)


class _OrderedSet(MutableSet[Any]):
    """A set that iterates in the order of insertion."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = dict.fromkeys(items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, value: Any) -> None:
        self._items[value] = None

    def discard(self, value: Any) -> None:
        self._items.pop(value, None)


def run_virtual(
    function: Callable[..., Awaitable[T]], *args: Any, start: datetime = START, loop: VirtualTimeLoop | None = None
) -> T:
    """Run ``await function(*args)`` to its end in virtual time, the wall clock starting at ``start``.

    Raises:
        Stuck: it waits for something that cannot come.
    """
    own = loop or VirtualTimeLoop(start)

    async def main() -> T:
        return await function(*args)

    runner = asyncio.Runner(loop_factory=lambda: own)
    with _libraries_on(own):
        try:
            result = runner.run(main())
        except BaseException:
            # What cannot be woken cannot be cancelled either; the first report is the one that matters.
            with contextlib.suppress(Stuck):
                runner.close()
            raise
        runner.close()
        return result


def virtual(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Make an async test a plain one that runs in virtual time. Its fixtures must be plain, too."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_virtual(functools.partial(test, *args, **kwargs))

    return run


def virtual_loop() -> VirtualTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop), "not in virtual time"
    return loop


def virtual_clock() -> VirtualClock:
    """The running loop's wall clock."""
    return virtual_loop().clock


def outside_work() -> contextlib.AbstractContextManager[None]:
    """While entered, the running loop waits for real and its clock stands still."""
    return virtual_loop().outside_work()


@contextlib.contextmanager
def _libraries_on(loop: VirtualTimeLoop) -> Iterator[None]:
    scope_init = anyio_asyncio.CancelScope.__init__
    in_thread = anyio_asyncio.AsyncIOBackend.run_sync_in_worker_thread

    def ordered_init(self: Any, *args: Any, **kwargs: Any) -> None:
        # anyio cancels nested scopes in the order of a set of objects hashed by address.
        scope_init(self, *args, **kwargs)
        self._child_scopes = _OrderedSet()

    async def counted_thread(*args: Any, **kwargs: Any) -> Any:
        with loop.outside_work():
            return await in_thread(*args, **kwargs)

    with (
        mock.patch.object(anyio_asyncio.CancelScope, "__init__", ordered_init),
        mock.patch.object(anyio_asyncio.AsyncIOBackend, "run_sync_in_worker_thread", counted_thread),
        # How long a pooled connection has been idle; aiohttp's other timers are the loop's.
        mock.patch.object(aiohttp.connector, "monotonic", loop.time),
    ):
        yield


def _place(task: asyncio.Task[Any]) -> str:
    places = []
    waiter: Any = task.get_coro()
    while (frame := getattr(waiter, "cr_frame", None)) is not None:
        code = frame.f_code
        places.append(f"{code.co_qualname} ({Path(code.co_filename).name}:{frame.f_lineno})")
        waiter = waiter.cr_await
    return f"  {task.get_name()}: {' > '.join(places) or 'done'}"
