"""Orders wait for one pass: who hears what of them, what a stop leaves behind, and when nothing is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from fleetd.engine.orders import Decision, Orders
from fleetd.model.journal import Hold, Request
from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Reason, Verb
from tests.support.build import NOW, ago, intent, later
from tests.support.virtual_time import virtual

P = pytest.param
ASKED = Reason.OPERATOR_REQUEST
STOP = Request(Verb.STOP, "ps1", "ada", "repair", keep_off=timedelta(hours=8))
START = Request(Verb.START, "ps2", "ada", "a run")


class Notes:
    """A journal that notes its holds."""

    def __init__(self, *intents: Any) -> None:
        self.intents = intents
        self.added: dict[int, Hold] = {}
        self.read_at: list[Any] = []
        self.removed: list[int] = []
        self.notes: dict[str, str] = {}

    async def add_hold(self, hold: Hold) -> Hold:
        number = len(self.added) + 1
        self.added[number] = replace(hold, id=number)
        return self.added[number]

    async def remove_hold(self, hold: int) -> None:
        self.removed.append(hold)

    async def holds(self, *, now: datetime) -> list[Hold]:
        self.read_at.append(now)
        return []

    async def open_intents(self) -> list[Any]:
        return list(self.intents)

    async def get_note(self, key: str) -> str | None:
        return self.notes.get(key)

    async def put_note(self, key: str, value: str) -> None:
        self.notes[key] = value


def orders(*intents: Any) -> tuple[Orders, Any]:
    journal: Any = Notes(*intents)
    return Orders(journal), journal


def call(verb: Verb = Verb.STOP, machine: str = "ps1", reason: Reason = ASKED) -> Action:
    return Action(verb, "training", reason, machine, f"box of {machine}")


def skip(verb: Verb = Verb.STOP, machine: str = "ps1", reason: Reason = Reason.BUSY) -> Skip:
    return Skip("training", verb, reason, machine)


OPENED = intent(Verb.STOP, 1, reason=ASKED)
OF_FLEETD = intent(Verb.STOP, 1, reason=Reason.OVER_TARGET)


@virtual
async def test_an_order_hears_what_a_pass_decides_of_it_and_of_no_other() -> None:
    some, _ = orders()
    heard: list[Any] = []

    async def ask(request: Request) -> None:
        heard.append((request.verb, await some.ask(request, patience=30)))

    async with anyio.create_task_group() as group:
        for request in (STOP, START):
            group.start_soon(ask, request)
        await anyio.wait_all_tasks_blocked()
        assert some.pending == (STOP, START)
        assert some.take() == (STOP, START)
        await some.decided([STOP], [call()], [], [])
        await anyio.wait_all_tasks_blocked()
        assert (heard, some.pending) == ([(Verb.STOP, Decision(begun=True))], (START,))
        some.abandon([])
    assert heard[1:] == [(Verb.START, Decision())]
    assert some.pending == ()


@pytest.mark.parametrize("taken", [False, True])
@virtual
async def test_a_stop_leaves_nothing_of_the_orders_that_nobody_carries_out(taken: bool) -> None:
    """One that a pass is at is its own to decide, unless that pass is given up as well."""
    some, _ = orders()
    heard: list[Decision | None] = []

    async def give(request: Request) -> None:
        heard.append(await some.ask(request, patience=30))

    async with anyio.create_task_group() as group:
        group.start_soon(give, STOP)
        await anyio.wait_all_tasks_blocked()
        some.take()
        group.start_soon(give, START)
        await anyio.wait_all_tasks_blocked()
        some.withdraw(taken=taken)
        await anyio.wait_all_tasks_blocked()
        assert heard == [Decision(withdrawn=True)] * (1 + taken)
        assert some.pending == (() if taken else (STOP,))
        some.abandon([])


@pytest.mark.parametrize(("taken", "decision"), [(False, Decision(withdrawn=True)), (True, None)])
@virtual
async def test_an_order_that_no_pass_decides_in_time(taken: bool, decision: Decision | None) -> None:
    """One that a pass has is that pass's to decide; of any other nothing is left."""
    some, _ = orders()
    began = anyio.current_time()
    async with anyio.create_task_group() as group:
        if taken:

            async def take() -> None:
                await anyio.sleep(29)
                some.take()

            group.start_soon(take)
        assert await some.ask(STOP, patience=30) == decision
    assert anyio.current_time() - began == pytest.approx(30)
    assert some.pending == ((STOP,) if taken else ())


@pytest.mark.parametrize(
    ("actions", "skips", "intents", "decision"),
    [
        P([call()], [], [], Decision(begun=True), id="called, and over already"),
        P([call()], [], [OPENED], Decision(begun=True, intent=OPENED), id="called"),
        P([], [skip()], [OPENED], Decision(begun=True, intent=OPENED), id="on its way, whatever is skipped"),
        P([call()], [skip()], [], Decision(skip=skip()), id="dropped before its call"),
        P([], [skip(), skip(reason=Reason.HELD)], [], Decision(skip=skip()), id="the first reason is its own"),
        P([], [skip(machine="ps2"), skip(Verb.START)], [], Decision(), id="others are skipped"),
        P([call(reason=Reason.OVER_TARGET)], [], [], Decision(), id="fleetd's own call"),
        P([call(machine="ps2"), call(Verb.START)], [], [], Decision(), id="another call"),
        P([], [], [OF_FLEETD], Decision(), id="fleetd's own, on its way"),
        P([], [], [], Decision(), id="the pass has not seen it"),
    ],
)
@virtual
async def test_what_a_pass_made_of_an_order(actions: Any, skips: Any, intents: Any, decision: Decision) -> None:
    some, journal = orders()
    heard: list[Any] = []

    async def ask() -> None:
        heard.append(await some.ask(STOP, patience=30))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        await some.decided(some.take(), iter(actions), iter(skips), iter(intents))
    assert (heard, journal.removed) == ([decision], [])
    assert heard[0].withdrawn is False


AGREED: Any = SimpleNamespace(latest=lambda: later(hours=1), earliest=lambda: ago(hours=1))


@pytest.mark.parametrize(
    ("request_", "action", "agreement", "until"),
    [
        P(STOP, call(), None, later(hours=8), id="a stop"),
        P(STOP, call(), AGREED, later(hours=9), id="by the later of both clocks"),
        P(STOP, call(reason=Reason.OVER_TARGET), None, None, id="fleetd's own stop"),
        P(STOP, call(Verb.RESTART), None, None, id="no stop"),
        P(STOP, call(machine="ps2"), None, None, id="of another"),
        P(Request(Verb.STOP, "ps1", "ada", "repair"), call(), None, None, id="one that is not kept off"),
    ],
)
@pytest.mark.parametrize("begun", [True, False])
@virtual
async def test_what_a_stop_leaves_behind(
    request_: Request, action: Action, agreement: Any, until: Any, begun: bool
) -> None:
    some, journal = orders()
    heard: list[Any] = []

    async def ask() -> None:
        heard.append(await some.ask(request_, patience=30))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        await some.before_calls(some.take(), [action], NOW, agreement)
        left = Hold(1, "box of ps1", "hold", "repair", "ada", NOW, until or NOW, frozenset({Verb.START}), "ps1")
        assert journal.added == ({} if until is None else {1: left})
        assert journal.notes == ({} if until is None else {"kept_off": "[1]"}), "remembered as a stop's"
        assert journal.read_at == ([] if until is None else [ago(hours=1) if agreement else NOW])
        await some.decided([request_], [], [] if begun else [skip()], [OPENED] if begun else [])
    (decision,) = heard
    assert decision.begun is begun
    assert (decision.kept_off is not None) is (begun and until is not None)
    assert journal.removed == ([] if begun or until is None else [1]), "of a stop that was not made nothing stays"
    if decision.kept_off is not None:
        assert (decision.kept_off.id, decision.kept_off.expires_at) == (1, until)
    assert await told_twice(some, request_) == Decision(begun=True, intent=OPENED)


async def told_twice(some: Orders, request: Request) -> Decision | None:
    """The next order of the kind inherits nothing."""
    heard: list[Decision | None] = []

    async def ask() -> None:
        heard.append(await some.ask(request, patience=30))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        await some.decided(some.take(), [], [], [OPENED])
    return heard[0]


@pytest.mark.parametrize(
    ("taken", "intents", "removed", "told"),
    [
        P(True, [OPENED], [], True, id="it was carried out all the same"),
        P(True, [], [1], False, id="it was not: of its hold nothing is left"),
        P(True, [OF_FLEETD], [1], False, id="fleetd's own stop is none"),
        P(True, [intent(Verb.STOP, 2, reason=ASKED), intent(Verb.START, 1, reason=ASKED)], [1], False, id="others"),
        P(False, [OPENED], [], False, id="no pass has it"),
    ],
)
@virtual
async def test_an_order_in_a_pass_that_fails(taken: bool, intents: Any, removed: list[int], told: bool) -> None:
    some, journal = orders(*intents)
    heard: list[Any] = []

    async def ask() -> None:
        heard.append(await some.ask(STOP, patience=30))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        if taken:
            some.take()
        await some.before_calls([STOP], [call()], NOW)
        await some.failed()
        await anyio.wait_all_tasks_blocked()
        assert journal.removed == removed
        assert len(heard) == told
        if told:
            assert (heard[0].begun, heard[0].intent, heard[0].kept_off.id) == (True, OPENED, 1)
        some.abandon([] if taken else [STOP])
    assert told or heard == [Decision()]
    await some.failed()
    assert journal.removed == removed, "once"
