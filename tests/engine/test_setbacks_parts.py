"""What of a call's effect is held against it later: undone, vanished, come late, or turned by somebody."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.engine.setbacks import (
    FORGOTTEN_AFTER,
    MENDED_FOR,
    NOTE,
    OURS_WITHIN,
    UNDONE_WITHIN,
    Setbacks,
    say_backed_off,
)
from fleetd.model.journal import Intent, Setback
from fleetd.model.machine import Machine
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.transitions import BACKOFF_STEPS
from fleetd.store.port import Journal
from tests.support.build import NOW, ago, event, intent, later, machine
from tests.support.journals import a_journal
from tests.support.virtual_time import run_virtual

P = pytest.param
FIRST, SECOND = BACKOFF_STEPS[:2]
MOMENT = timedelta(seconds=1)
START, STOP = intent(Verb.START, 1), intent(Verb.STOP, 1, reason=Reason.OVER_TARGET)
CREATE = intent(Verb.CREATE, 1)
UPDATE = intent(Verb.UPDATE, 1, reason=Reason.TIMEOUT_DRIFT, parameters={"shutdown_timeout_hours": 24})
FOREIGN: Any = Verb("explode")


async def loaded(journal: Journal) -> Setbacks:
    found = Setbacks(journal)
    await found.load()
    return found


def backed_off(one: Intent, back: Setback) -> dict[str, Any]:
    return {
        "event": "action.backed_off",
        "log_level": "warning",
        "fleet": "training",
        "machine": one.machine_id,
        "name": one.name,
        "action": str(one.verb),
        "attempt": back.attempt,
        "until": back.until.isoformat(),
        "error": back.words,
    }


def test_that_a_call_is_made_ever_more_rarely_is_said_unless_it_may_be_repeated_at_once() -> None:
    back = Setback(later(minutes=1), "no", NOW, 2)
    for told, lines in ((back, [backed_off(STOP, back)]), (replace(back, attempt=0), []), (None, [])):
        with capture_logs() as logs:
            say_backed_off(STOP, told)
        assert logs == lines


@pytest.mark.parametrize(
    ("forgiven", "after", "until"),
    [
        P(False, -FIRST - MOMENT, -FIRST - MOMENT, id="set back: it may be tried again at once"),
        P(False, -FIRST / 2, FIRST, id="set back by less than it waits"),
        P(False, FIRST - MOMENT, FIRST, id="it waits"),
        P(False, FIRST, FIRST, id="it may be tried again since now"),
        P(False, FIRST + MOMENT, FIRST, id="it may be tried again since a moment ago"),
        P(False, FIRST + FORGOTTEN_AFTER, None, id="nobody has tried it again"),
        P(True, timedelta(0), timedelta(0), id="forgiven: it may be tried again at once"),
        P(True, -MOMENT, -MOMENT, id="forgiven, and set back a little: at once as well"),
        P(True, -FORGOTTEN_AFTER, None, id="forgiven, and set back by hours: forgotten"),
        P(True, FORGOTTEN_AFTER - MOMENT, timedelta(0), id="forgiven, and within the hour"),
        P(True, FORGOTTEN_AFTER, None, id="forgiven, and nobody has tried it again"),
    ],
)
def test_until_when_it_waits_as_told_later(forgiven: bool, after: timedelta, until: timedelta | None) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            found = await loaded(journal)
            await found.add(STOP, "x", NOW, forgiven=forgiven)
            told = [back.until - NOW for back in found.known(NOW + after).values()]
            assert told == ([] if until is None else [until])

    run_virtual(story)


@pytest.mark.parametrize(
    ("begun", "at", "attempt"),
    [
        P(ago(minutes=1), later(seconds=1), 0, id="begun before: of the same trouble"),
        P(NOW, later(seconds=1), 1, id="begun as it was forgiven: the first one after it"),
        P(later(seconds=1), later(seconds=2), 1, id="begun after it"),
    ],
)
def test_creates_beside_one_that_was_forgiven_are_forgiven_with_it(
    begun: datetime, at: datetime, attempt: int
) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            found = await loaded(journal)
            await found.add(CREATE, "lost", NOW, forgiven=True)
            back = await found.add(replace(CREATE, created_at=begun), "lost", at)
            assert back.attempt == attempt
            stop = replace(STOP, created_at=begun)
            await found.add(stop, "x", NOW, forgiven=True)
            assert (await found.add(stop, "x", at)).attempt == 1, "of other calls each is its own"

    run_virtual(story)


def test_since_when_nobody_knows_of_one_of_another_version() -> None:
    async def story() -> None:
        async with a_journal() as journal:
            row = {"until": NOW.isoformat(), "since": None, "words": "x", "attempt": 1, "baseline": None}
            await journal.put_note(NOTE, json.dumps({"stop:ps1": row}))
            found = await loaded(journal)
            assert [b.since for b in found.known(NOW).values()] == [None]
            back = await found.add(STOP, "x", NOW)
            assert (back.since, back.attempt) == (NOW, 2)

    run_virtual(story)


@pytest.mark.parametrize(
    ("apart", "kept"),
    [
        P(UNDONE_WITHIN - MOMENT, ["ps8", "ps9"], id="while it may be undone"),
        P(UNDONE_WITHIN, ["ps9"], id="and no longer, however many machines come and go"),
    ],
)
def test_what_an_effect_has_ended_is_kept_while_the_effect_may_be_undone(apart: timedelta, kept: list[str]) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            found = await loaded(journal)
            for n in range(10):
                one, at = intent(Verb.START, n), NOW + n * apart
                await found.add(one, "x", at)
                await found.worked(one, at)
            assert sorted(json.loads(await journal.get_note(NOTE) or "")) == [f"start:{m}" for m in kept]

    run_virtual(story)


class Writes:
    """A journal that counts what is written to it."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self.count = journal, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def put_note(self, key: str, value: str) -> None:
        self.count += 1
        await self._journal.put_note(key, value)


def test_an_effect_is_written_down_where_it_changes_what_is_kept() -> None:
    async def story() -> None:
        async with a_journal() as journal:
            writes: Any = Writes(journal)
            found = await loaded(writes)
            assert await found.worked(START, NOW) is None
            assert writes.count == 0, "there was nothing against it"
            await found.add(START, "x", NOW)
            await found.worked(START, NOW)
            assert writes.count == 2
            await found.worked(START, later(minutes=1))
            assert writes.count == 3
            again = await loaded(writes)
            assert again.known(NOW) == {}
            again._worked["ps1"] = (later(minutes=1), START)
            back = await again.undone("ps1", up=False, now=later(minutes=2))
            assert back is not None
            assert back.attempt == 1, "a second effect has ended what the first had only cleared"

    run_virtual(story)


@pytest.mark.parametrize(
    ("known", "works", "left", "written"),
    [
        P(CREATE, CREATE, set(), 1, id="the create that waited works"),
        P(CREATE, STOP, set(), 1, id="another call works"),
        P(UPDATE, STOP, set(), 1, id="an update waited"),
        P(STOP, START, {"stop:ps1"}, 0, id="a stop waits on: a config asks for no other"),
    ],
)
def test_what_a_new_config_has_ended_does_not_come_back_with_a_restart(
    known: Intent, works: Intent, left: set[str], written: int
) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            writes: Any = Writes(journal)
            found = await loaded(writes)
            await found.add(known, "vanished", NOW)
            found.reconfigured()
            writes.count = 0
            for _ in range(2):
                await found.worked(works, later(seconds=30))
                found.reconfigured()
            assert writes.count == written
            assert set((await loaded(journal)).known(NOW)) == left

    run_virtual(story)


@pytest.mark.parametrize(
    ("second", "after", "undone"),
    [
        P(UPDATE, timedelta(minutes=1), True, id="the same setting, put right again"),
        P(UPDATE, MENDED_FOR - MOMENT, True, id="within a day"),
        P(UPDATE, MENDED_FOR, False, id="a day later"),
        P(UPDATE, -MENDED_FOR, False, id="a day earlier, by a clock that was set back"),
        P(
            replace(UPDATE, parameters={"shutdown_timeout_hours": 8}),
            timedelta(minutes=1),
            False,
            id="to another value",
        ),
        P(replace(UPDATE, reason=Reason.SNAPSHOT_DRIFT), timedelta(minutes=1), False, id="another setting"),
        P(replace(UPDATE, machine_id="ps2"), timedelta(minutes=1), False, id="another machine"),
        P(STOP, timedelta(minutes=1), False, id="another verb"),
    ],
)
@pytest.mark.parametrize("restarted", [False, True])
def test_a_setting_that_does_not_stay(second: Intent, after: timedelta, undone: bool, restarted: bool) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            found = await loaded(journal)
            first = STOP if second.verb is Verb.STOP else UPDATE
            written = await journal.write_intent(first)
            await journal.close_intent(written.id, at=NOW, outcome=Outcome.REACHED)
            assert await found.worked(first, NOW) is None
            if restarted:
                found = await loaded(journal)
            back = await found.worked(second, NOW + after)
            assert (back is not None) is undone
            assert set(found.known(NOW + after)) == ({"update:ps1:timeout_drift"} if undone else set())
            if undone:
                assert await found.worked(UPDATE, NOW + after + MOMENT) is not None, "nor does it the next time"

    run_virtual(story)


@pytest.mark.parametrize("verb", [Verb.UPDATE, FOREIGN])
def test_after_a_start_nothing_is_undone_that_moves_no_machine(verb: Any) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            written = await journal.write_intent(replace(UPDATE, verb=verb))
            await journal.close_intent(written.id, at=NOW, outcome=Outcome.REACHED)
            found = await loaded(journal)
            for up in (True, False):
                assert await found.undone("ps1", up=up, now=later(seconds=5)) is None
            assert await found.vanished("ps1", later(seconds=5)) is None

    run_virtual(story)


@pytest.mark.parametrize(
    ("machine_id", "at", "counts"),
    [
        P("ps1", NOW - MOMENT, True, id="it turned before the effect"),
        P("ps1", NOW, False, id="it turned with it: asked about already"),
        P("ps1", NOW + MOMENT, False, id="after it"),
        P("ps2", NOW + MOMENT, True, id="another machine"),
    ],
)
def test_what_an_earlier_process_has_asked_about_is_not_held_against_a_call_again(
    machine_id: str, at: datetime, counts: bool
) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            found = await loaded(journal)
            await found.worked(START, NOW)
            found.turned(machine_id, at)
            assert (await found.undone("ps1", up=False, now=later(minutes=1)) is not None) is counts

    run_virtual(story)


@pytest.mark.parametrize(
    ("after", "undone"),
    [
        P(timedelta(0), True, id="at once"),
        P(UNDONE_WITHIN - MOMENT, True, id="within ten minutes"),
        P(UNDONE_WITHIN, False, id="ten minutes later"),
        P(-UNDONE_WITHIN + MOMENT, True, id="by a clock that was set back a little"),
        P(-UNDONE_WITHIN, False, id="by one that was set back by more: nobody knows when"),
    ],
)
@pytest.mark.parametrize("before", [False, True])
def test_an_effect_that_does_not_last_was_none(after: timedelta, undone: bool, before: bool) -> None:
    """``before``: the call had come to nothing before it had its effect; that counts on."""

    async def story() -> None:
        async with a_journal() as journal:
            found = await loaded(journal)
            if before:
                await found.add(STOP, "it went on", NOW - MOMENT)
            await found.worked(STOP, NOW)
            with capture_logs() as logs:
                back = await found.undone("ps1", up=True, now=NOW + after)
            assert (back is not None) is undone
            assert logs == ([] if back is None else [backed_off(STOP, back)])
            if back is not None:
                words = f"it was undone {round(after.total_seconds())} s after its effect"
                assert (back.attempt, back.words) == (2 if before else 1, words)
                assert (await loaded(journal)).known(NOW + after) == {"stop:ps1": back}

    run_virtual(story)


def test_a_create_that_was_undone_has_its_start_tried_again() -> None:
    async def story() -> None:
        async with a_journal() as journal:
            found = await loaded(journal)
            await found.add(CREATE, "lost", NOW - MOMENT)
            await found.worked(CREATE, NOW)
            with capture_logs() as logs:
                back = await found.undone("ps1", up=False, now=later(minutes=1))
            assert back is not None
            assert found.known(later(minutes=1)) == {"start:ps1": back}
            assert back.attempt == 2, "the machine is made: what its create came to before counts for its start"
            assert logs == [backed_off(replace(CREATE, verb=Verb.START), back)]

    run_virtual(story)


@pytest.mark.parametrize(
    ("call", "after", "in_vain"),
    [
        P(CREATE, timedelta(seconds=90), True, id="one that a create had just made"),
        P(CREATE, UNDONE_WITHIN - MOMENT, True, id="within ten minutes"),
        P(CREATE, UNDONE_WITHIN, False, id="ten minutes later"),
        P(START, timedelta(seconds=90), False, id="one that was started"),
        P(STOP, timedelta(seconds=90), False, id="one that was stopped"),
        P(replace(CREATE, machine_id="ps2"), timedelta(seconds=90), False, id="another"),
        P(None, timedelta(seconds=90), False, id="one that nobody has moved"),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_machine_that_vanishes_was_made_in_vain(
    call: Intent | None, after: timedelta, in_vain: bool, before: int
) -> None:
    """``before``: how often creates had come to nothing until this one came up."""

    async def story() -> None:
        async with a_journal() as journal:
            found = await loaded(journal)
            for n in range(before):
                await found.add(CREATE, "lost", ago(minutes=20) + n * SECOND)
            if call is not None:
                await found.worked(call, NOW)
            known = found.known(NOW + after)
            with capture_logs() as logs:
                back = await found.vanished("ps1", NOW + after)
            assert (back is not None) is in_vain
            if back is None:
                assert not logs
                assert found.known(NOW + after) == known
                return
            assert back.attempt == (before + 1 if before else 0), "the first in a row is replaced at once"
            words = f"{CREATE.name} was gone {round(after.total_seconds())} s after it had come up"
            assert back.words == words
            assert found.known(NOW + after) == {"create:training": back}
            assert (await loaded(journal)).known(NOW + after) == {"create:training": back}
            assert logs == ([backed_off(CREATE, back)] if back.attempt else [])
            assert await found.vanished("ps1", NOW + after) is None, "it is told once"

    run_virtual(story)


TOLD = later(minutes=2)
"""When the machine turns: two minutes after its call came to nothing."""


def turned(state: str, *events: tuple[str, str], n: int = 1) -> Machine:
    """With its events, the newest first, as (name, handle); without any where nobody has looked."""
    return machine(n, state, events=tuple(event(name, handle=handle) for name, handle in events) or None)


@pytest.mark.parametrize(
    ("call", "seen", "at", "late"),
    [
        P(START, turned("ready"), TOLD, True, id="up after a start"),
        P(START, turned("starting"), TOLD, True, id="on its way up after a start"),
        P(START, turned("off"), TOLD, False, id="down after a start"),
        P(STOP, turned("off"), TOLD, True, id="down after a stop"),
        P(STOP, turned("stopping"), TOLD, True, id="on its way down after a stop"),
        P(STOP, turned("ready"), TOLD, False, id="up after a stop"),
        P(STOP, turned("off", n=2), TOLD, False, id="another machine"),
        P(STOP, turned("off"), NOW + OURS_WITHIN - MOMENT, True, id="within half an hour"),
        P(STOP, turned("off"), NOW + OURS_WITHIN, False, id="half an hour later: a person's"),
        P(STOP, turned("off"), NOW - OURS_WITHIN, False, id="so much earlier by a clock that was set back"),
    ],
)
def test_a_turn_may_be_the_late_effect_of_a_call(call: Intent, seen: Machine, at: datetime, late: bool) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            found = await loaded(journal)
            await found.add(call, "it came to nothing", NOW)
            assert await found.late(seen, at) == (call.verb if late else None)
            assert bool(found.known(NOW)) is not late, "it counts no more then"
            assert bool((await loaded(journal)).known(NOW)) is not late
            if late:
                assert await found.late(seen, at) is None, "and has one effect"

    run_virtual(story)


def test_a_forgiven_call_may_be_late_as_well() -> None:
    """Its wait is none, so half an hour is counted from when it was forgiven."""

    async def story() -> None:
        async with a_journal() as journal:
            for at, verb in ((NOW + OURS_WITHIN - MOMENT, Verb.STOP), (NOW + OURS_WITHIN, None)):
                found = await loaded(journal)
                await found.add(STOP, "x", NOW, forgiven=True)
                assert await found.late(turned("off"), at) is verb

    run_virtual(story)


@pytest.mark.parametrize(
    ("baseline", "events", "late"),
    [
        P("old", [("stop", "new"), ("start", "old")], True, id="one stop since"),
        P("old", [("stop", "b"), ("stop", "a"), ("start", "old")], False, id="two: somebody else's is among them"),
        P("old", [("stop", "b"), ("start", "a"), ("start", "old")], True, id="other events are not counted"),
        P("old", [("stop", "new"), ("stop", "old")], True, id="the one before the call is not counted"),
        P("old", [("start", "a"), ("start", "old")], True, id="none that says stop"),
        P("old", [("stop", "b"), ("stop", "a")], False, id="the one before it is not told any more: all are since"),
        P("old", [("stop", "b")], True, id="likewise, of one"),
        P("", [("stop", "b"), ("stop", "a")], False, id="there was none before it"),
        P(None, [("stop", "b"), ("stop", "a")], True, id="nobody had looked before it"),
        P("old", [], True, id="nobody has looked since"),
    ],
)
def test_whose_a_late_effect_is_by_the_events(
    baseline: str | None, events: list[tuple[str, str]], late: bool
) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            found = await loaded(journal)
            await found.add(replace(STOP, baseline_event=baseline), "x", NOW)
            assert await found.late(turned("off", *events), TOLD) == (Verb.STOP if late else None)
            assert bool(found.known(NOW)) is not late

    run_virtual(story)


def test_what_a_note_has_that_cannot_be_read_costs_no_other_entry() -> None:
    async def story() -> None:
        async with a_journal() as journal:
            found = await loaded(journal)
            await found.add(START, "x", NOW)
            await found.worked(START, later(minutes=1))
            await found.add(STOP, "y", NOW)
            rows = json.loads(await journal.get_note(NOTE) or "")
            odd = {
                "a": 5,
                "b": rows["stop:ps1"] | {"until": "soon"},
                "c": rows["stop:ps1"] | {"until": "2026-03-02T12:01:00"},
                "d": rows["start:ps1"] | {"cleared": "2026-03-02T12:01:00"},
                "e": rows["start:ps1"] | {"cleared": "soon"},
            }
            await journal.put_note(NOTE, json.dumps(odd | rows))
            again = await loaded(journal)
            assert (again._known, again._cleared) == (found._known, found._cleared)
            assert set(again._known) == {"stop:ps1"}
            assert set(again._cleared) == {"start:ps1"}

    run_virtual(story)
