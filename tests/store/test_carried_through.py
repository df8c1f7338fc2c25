"""A caller that is cancelled learns how its write ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.lowlevel
import pytest

from fleetd.model.errors import StateUnusable
from fleetd.model.reasons import Outcome
from fleetd.store.sqlite import SqliteJournal
from fleetd.store.worker import Worker
from tests.store.test_journal import INTENT
from tests.support.build import NOW


class Gate:
    """Holds the worker thread until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def pass_through(self) -> None:
        self.entered.set()
        assert self.opened.wait(10)


@pytest.fixture
def gate(monkeypatch) -> Iterator[Gate]:
    """The next transaction waits at the gate."""
    gate = Gate()
    yield gate
    gate.opened.set()


@pytest.fixture
async def threaded(path) -> AsyncIterator[SqliteJournal]:
    journal = await SqliteJournal.open(path)
    yield journal
    await journal.aclose()


def hold_up(journal: SqliteJournal, gate: Gate, monkeypatch, error: Exception | None = None) -> None:
    transact = journal._database._transact

    def slow(db, job):
        gate.pass_through()
        if error:
            raise error
        return transact(db, job)

    monkeypatch.setattr(journal._database, "_transact", slow)


async def test_a_cancelled_scope_gets_its_result_and_is_cancelled_afterwards(threaded, gate, monkeypatch):
    hold_up(threaded, gate, monkeypatch)
    written = []
    went_on = False

    async def write() -> None:
        nonlocal went_on
        written.append(await threaded.write_intent(INTENT))
        await anyio.lowlevel.checkpoint()
        went_on = True

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        await anyio.to_thread.run_sync(gate.entered.wait)
        group.cancel_scope.cancel()
        gate.opened.set()
    assert [intent.id for intent in written] == [1]
    assert not went_on
    assert await threaded.open_intents() == written


async def test_a_cancelled_task_ends_after_its_write(threaded, gate, monkeypatch):
    hold_up(threaded, gate, monkeypatch)
    task = asyncio.create_task(threaded.write_intent(INTENT))
    await asyncio.to_thread(gate.entered.wait)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await threaded.open_intents()) == 1


async def test_a_cancelled_task_tells_why_its_write_failed(threaded, gate, monkeypatch):
    hold_up(threaded, gate, monkeypatch, error=StateUnusable("full"))
    task = asyncio.create_task(threaded.write_intent(INTENT))
    await asyncio.to_thread(gate.entered.wait)
    task.cancel()
    await asyncio.sleep(0)
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert isinstance(caught.value.__cause__, StateUnusable)


async def test_what_is_being_cancelled_can_still_record_its_outcome(threaded):
    intent = await threaded.write_intent(INTENT)

    async def act() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            await threaded.close_intent(intent.id, at=NOW, outcome=Outcome.NOT_SENT)

    async with anyio.create_task_group() as group:
        group.start_soon(act)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert [entry.outcome for _, entry in await threaded.history()] == ["not_sent"]


async def test_a_timeout_around_a_write_still_times_out(threaded, gate, monkeypatch):
    hold_up(threaded, gate, monkeypatch)
    asyncio.get_running_loop().call_later(0.05, gate.opened.set)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(threaded.write_intent(INTENT), 0.01)
    await asyncio.sleep(0)
    assert len(await threaded.open_intents()) == 1


async def test_a_cancelled_opening_leaves_no_thread_and_no_connection(path, gate, monkeypatch):
    run = Worker.run

    async def slow(self, job):
        def gated():
            gate.pass_through()
            return job()

        return await run(self, gated)

    monkeypatch.setattr(Worker, "run", slow)
    task = asyncio.create_task(SqliteJournal.open(path))
    await asyncio.to_thread(gate.entered.wait)
    task.cancel()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(file.name for file in path.parent.iterdir()) == ["journal.db"]  # the side files went at close
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("fleetd-journal")]
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


async def test_closing_a_worker_waits_for_nothing(gate):
    """It is closed on the loop's thread, where everything else waits with it."""
    worker = Worker()
    job = asyncio.create_task(worker.run(gate.pass_through))
    await asyncio.to_thread(gate.entered.wait)
    worker.close()
    assert not job.done()
    gate.opened.set()
    await job


async def test_concurrent_calls_all_get_their_own_answer(threaded):
    results: dict[int, int] = {}

    async def write(number: int) -> None:
        await threaded.put_note(str(number), str(number * number))
        results[number] = int(await threaded.get_note(str(number)) or "-1")

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(write, number)
    assert results == {number: number * number for number in range(100)}
