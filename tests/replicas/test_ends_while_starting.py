"""A standby that is told to end in the moment in which it begins to answer: nobody has seen it ready yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

pytest.importorskip("psycopg")

from fleetd.store.postgres.lease import Holder
from fleetd.wiring import acting
from fleetd.wiring.process import Process

HELD = Holder("another, pid 1", 1, None, over=False, given_back=False, left=10.0)


class Beginning:
    """As ``Standby``, of which the socket is not open yet: shielded, for what it opened has to be put away."""

    def __init__(self, *_: Any) -> None:
        self.rereading = SimpleNamespace(fault="")
        self._done = anyio.Event()

    async def look(self) -> None:
        pass

    async def obey_hangups(self) -> None:
        await anyio.sleep_forever()

    async def serve(self, *, task_status: Any) -> None:
        del task_status
        BEGUN[0].set()
        with anyio.CancelScope(shield=True):
            await self._done.wait()

    def close(self) -> None:
        self._done.set()


BEGUN: list[anyio.Event] = []


class Lease:
    address, ttl, config, fault = "postgresql://db/fleetd", 15.0, ("", ""), ""

    async def take(self) -> None:
        return None

    async def look(self) -> Holder:
        return HELD


async def test_a_standby_ends_while_it_begins_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answered(_self: Any) -> None:
        pass

    @contextmanager
    def terminations() -> Iterator[AsyncIterator[object]]:
        async def once() -> AsyncIterator[object]:
            await BEGUN[0].wait()
            yield None

        yield once()

    monkeypatch.setattr(acting, "Standby", Beginning)
    monkeypatch.setattr(acting._RollCall, "answer", answered)
    BEGUN[:] = [anyio.Event()]
    notifier = SimpleNamespace(stopping=lambda: None, status=lambda _: None, ready=lambda: None, alive=lambda: None)
    rereads: Any = SimpleNamespace(notifier=notifier)
    lease: Any = Lease()
    settings: Any = None
    with anyio.fail_after(2), pytest.raises(acting.StoppedWaiting):
        await acting._wait_for(lease, rereads, settings, Process(terminations=terminations))
