"""What is kept in mind between passes, and what of it the planner is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import anyio
import pytest

from fleetd.engine.recall import Recall
from fleetd.model.journal import Backoff, Memory, Request, Setback
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.facts import Learnt
from fleetd.planner.ownership import UNSEEN, Owner
from fleetd.planner.transitions import BACKOFF_STEPS
from fleetd.store.port import Journal
from tests.support.build import NOW, ago, facts, hold, idle, intent, later, machine, seen, token_name
from tests.support.journals import a_journal
from tests.support.rig import RecordingMeter
from tests.support.virtual_time import run_virtual

P = pytest.param
PLACE = ("East Coast (NY2)", "P4000")
STOP = intent(Verb.STOP, 1, reason=Reason.OVER_TARGET)
CREATE = intent(Verb.CREATE)
FAILING = timedelta(minutes=3)
FIRST, SECOND, THIRD = BACKOFF_STEPS[:3]
MOMENT = timedelta(seconds=1)


def new(journal: Journal) -> Recall:
    return Recall(journal, RecordingMeter())


async def held(journal: Journal, subject: str, expires_at: datetime) -> None:
    await journal.add_hold(
        hold(subject, reason="in use", actor="ada", created_at=ago(hours=1), expires_at=expires_at)
    )


def test_the_planner_is_given_all_that_is_known() -> None:
    async def story() -> None:
        async with a_journal() as journal:
            recall = new(journal)
            open_stop = await journal.write_intent(STOP)
            await recall.put([facts(1), facts(2)])
            await held(journal, "ps1", later(hours=1))
            await recall.no_capacity(*PLACE, "no room", NOW)
            recall.refused(intent(Verb.START, 2), "no", NOW)
            await recall.setbacks.add(STOP, "it went on", NOW)
            await recall.departures.add(STOP, NOW)
            await recall.addresses.expect(CREATE, "ps2")
            recall.creates_must_wait(FAILING, "slow down", NOW)
            asked = Request(Verb.STOP, "ps1", "ada", "kernel update")
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: recall.orders.ask(asked, patience=60))
                await anyio.sleep(1)
                given = await recall.memory(NOW, provider_failing=FAILING, idle={"ps1": idle()})
                recall.orders.abandon(given.requests)
            expected = Memory(
                intents=(open_stop,),
                facts={"ps1": facts(1), "ps2": facts(2)},
                holds=(hold("ps1"),),
                backoffs={PLACE: Backoff(*PLACE, 1, NOW + FIRST, "no room")},
                refusals={
                    "start:ps2": Setback(NOW + FIRST, "no", NOW, why=Reason.REFUSED_RECENTLY, lasts=FIRST),
                },
                futile=recall.setbacks.known(NOW),
                departing=recall.departures.known(NOW),
                addresses={"ps2": ""},
                creates_wait=(NOW + FAILING, "slow down"),
                idle={"ps1": idle()},
                requests=(asked,),
                provider_failing=FAILING,
            )
            assert given == expected
            assert expected.futile
            assert expected.departing
            later_on = await recall.memory(NOW + timedelta(days=1), provider_failing=timedelta(0))
            assert later_on == Memory(intents=(open_stop,), facts=expected.facts, addresses={"ps2": ""}), (
                "all that lasts for a while is over"
            )

    run_virtual(story, start=NOW)


def test_what_the_planner_was_given_does_not_change_under_it() -> None:
    async def story() -> None:
        async with a_journal() as journal:
            recall = new(journal)
            await recall.put([facts(1)])
            given = await recall.memory(NOW, provider_failing=FAILING)
            await recall.put([facts(2)])
            assert set(given.facts) == {"ps1"}

    run_virtual(story)


@pytest.mark.parametrize(
    ("reached", "vetoes"),
    [
        P(None, {"later": later(minutes=30)}, id="both clocks agree"),
        P(NOW, {"later": later(minutes=30)}, id="likewise, said outright"),
        P(
            ago(hours=1),
            {"sooner": later(minutes=30), "later": later(minutes=90)},
            id="ours is an hour ahead: neither is over, and both end an hour later by it",
        ),
        P(later(hours=1), {}, id="ours is an hour behind: both are over"),
    ],
)
def test_a_veto_ends_when_its_end_is_certainly_reached(reached: datetime | None, vetoes: dict[str, datetime]) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            await held(journal, "sooner", ago(minutes=30))
            await held(journal, "later", later(minutes=30))
            given = await new(journal).memory(NOW, provider_failing=FAILING, reached=reached)
            assert {h.subject: h.expires_at for h in given.holds} == vetoes

    run_virtual(story)


def test_a_start_knows_what_the_process_before_it_knew() -> None:
    async def story() -> None:
        async with a_journal() as journal:
            before = new(journal)
            await before.put([facts(1)])
            await before.no_capacity(*PLACE, "no room", NOW)
            await before.setbacks.add(STOP, "it went on", NOW)
            await before.departures.add(STOP, NOW)
            await before.addresses.expect(CREATE, "ps1")
            after = new(journal)
            await after.load()
            known = await before.memory(NOW, provider_failing=FAILING)
            assert await after.memory(NOW, provider_failing=FAILING) == known
            assert all((known.facts, known.backoffs, known.futile, known.departing, known.addresses))

    run_virtual(story)


def test_which_machines_the_journal_is_asked_whether_it_made_them() -> None:
    """Those that are owned, and not remembered."""

    async def story() -> None:
        async with a_journal() as journal:
            recall = new(journal)
            await recall.put([facts(1)])
            for n in (1, 2, 3):
                one = await journal.write_intent(intent(Verb.CREATE, n))
                await journal.close_intent(one.id, at=NOW, outcome=Outcome.REACHED)
            owned = {f"ps{n}": Owner("training", adopted=False) for n in (1, 2, 4)}
            listed = seen(*(machine(n) for n in (1, 2, 3, 4)))
            assert await recall.made(listed, owned) == {"ps2"}

    run_virtual(story)


@pytest.mark.parametrize(
    ("changed", "forgotten", "left"),
    [
        P((), (), ["ps1", "ps2"], id="nothing new"),
        P((facts(3),), (), ["ps1", "ps2", "ps3"], id="a machine"),
        P((facts(1, last_state="off"),), ("ps2",), ["ps1"], id="one has changed, and one is gone for good"),
        P((), ("ps2", "ps9"), ["ps1"], id="one that is not remembered cannot be forgotten"),
    ],
)
def test_what_a_pass_learnt_is_kept_in_mind_and_in_the_journal(
    changed: tuple[Any, ...], forgotten: tuple[str, ...], left: list[str]
) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            recall = new(journal)
            await recall.put([facts(1), facts(2)])
            await recall.addresses.expect(CREATE, "ps2")
            await recall.learn(Learnt(changed, forgotten, (), ()))
            expected = {"ps1": facts(1), "ps2": facts(2)} | {f.machine_id: f for f in changed}
            assert recall.facts == {m: f for m, f in expected.items() if m in left}
            assert {f.machine_id: f for f in await journal.facts()} == recall.facts
            assert set(recall.addresses.known()) == {"ps2"} - set(forgotten), "its address goes with it"

    run_virtual(story)


@pytest.mark.parametrize(
    ("known", "confirmed"),
    [
        P([facts(1, unconfirmed=True)], True, id="it was in doubt"),
        P([facts(1)], False, id="nobody doubted it"),
        P([facts(2, unconfirmed=True)], False, id="nothing is remembered of it"),
    ],
)
def test_a_person_says_that_a_machine_is_ours(known: list[Any], confirmed: bool) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            recall = new(journal)
            await recall.put(known)
            assert await recall.confirm("ps1") is confirmed
            expected = [facts(1)] if confirmed else known
            assert list(recall.facts.values()) == expected == list(await journal.facts())

    run_virtual(story)


@pytest.mark.parametrize(
    "known",
    [P([], id="a new machine"), P([facts(1, last_state="off")], id="one that was seen before the answer came")],
)
def test_a_create_has_its_machine(known: list[Any]) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            recall = new(journal)
            await recall.put(known)
            await recall.created(CREATE, "ps1", NOW)
            unseen = facts(1, name=CREATE.name, first_seen=NOW, last_state=UNSEEN)
            assert list(recall.facts.values()) == (known or [unseen]) == list(await journal.facts())
            assert recall.addresses.known() == {"ps1": ""}

    run_virtual(story)


@pytest.mark.parametrize(
    ("failures", "waits"),
    [
        P([0], [FIRST], id="the first"),
        P([0, FIRST - MOMENT], [FIRST, None], id="one while it waits is of the same shortage"),
        P([0, FIRST], [FIRST, SECOND], id="one right after the wait"),
        P([0, FIRST, FIRST + SECOND], [FIRST, SECOND, THIRD], id="ever longer"),
        P([0, timedelta(days=1)], [FIRST, SECOND], id="however long after: no machine has come up"),
        P([0, -timedelta(hours=1)], [FIRST, SECOND], id="a clock that was set back prolongs no wait"),
    ],
)
def test_a_shortage_is_asked_about_ever_more_rarely(
    failures: Sequence[Any], waits: Sequence[timedelta | None]
) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            recall, found = new(journal), []
            for at in (NOW + (at or timedelta(0)) for at in failures):
                backoff = await recall.no_capacity(*PLACE, "no room", at)
                found.append(None if backoff is None else backoff.until - at)
                told = await recall.memory(at, provider_failing=FAILING)
                assert set(told.backoffs) == {PLACE}
                assert backoff is None or [backoff] == list(told.backoffs.values()) == list(await journal.backoffs())
            assert found == waits
            attempts = [b.attempt for b in await journal.backoffs()]
            assert attempts == [sum(w is not None for w in waits)]

    run_virtual(story)


def test_failures_side_by_side_are_one_shortage() -> None:
    """The second comes while the first is still being written."""

    async def story() -> None:
        async with a_journal() as journal:
            recall, found = new(journal), list[Any]()

            async def fails() -> None:
                found.append(await recall.no_capacity(*PLACE, "no room", NOW))

            async with anyio.create_task_group() as group:
                group.start_soon(fails)
                group.start_soon(fails)
            assert sorted(f is None for f in found) == [False, True]

    run_virtual(story)


@pytest.mark.parametrize(
    ("up", "over"),
    [
        P(PLACE, True, id="one of that type, there"),
        P(("West Coast (CA1)", "P4000"), False, id="elsewhere"),
        P(("East Coast (NY2)", "A100"), False, id="of another type"),
    ],
)
def test_a_machine_that_comes_up_ends_the_shortage(up: tuple[str, str], over: bool) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            recall = new(journal)
            await recall.no_capacity(*PLACE, "no room", NOW)
            await recall.has_capacity(*up)
            told = await recall.memory(NOW, provider_failing=FAILING)
            assert (not told.backoffs, not await journal.backoffs()) == (over, over)
            again = await recall.no_capacity(*PLACE, "no room", NOW + FIRST)
            assert again is not None
            assert again.attempt == (1 if over else 2)

    run_virtual(story)


@pytest.mark.parametrize(
    ("calls", "wait", "since"),
    [
        P([(0, {})], FIRST, NOW, id="once"),
        P([(0, {}), (90, {})], SECOND, NOW, id="again"),
        P([(0, {}), (90, {}), (300, {})], THIRD, NOW, id="and again"),
        P([(0, {}), (-5, {})], SECOND, NOW - 5 * MOMENT, id="earlier by a clock that was set back"),
        P([(0, {"at_least": THIRD})], THIRD, NOW, id="the provider asked for longer"),
        P([(0, {"at_least": MOMENT})], FIRST, NOW, id="the provider asked for less"),
    ],
)
def test_a_call_that_is_declined_is_tried_again_ever_more_rarely(
    calls: list[tuple[float, dict[str, Any]]], wait: timedelta, since: datetime
) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            recall, until = new(journal), NOW
            for seconds, fields in calls:
                now = later(seconds=seconds)
                until = recall.refused(STOP, f"no, at {seconds}", now, **fields)
            assert until == now + wait
            known = {
                at: (await recall.memory(at, provider_failing=FAILING)).refusals for at in (until - MOMENT, until)
            }
            last = Setback(until, f"no, at {seconds}", since, len(calls), why=Reason.REFUSED_RECENTLY, lasts=wait)
            assert known == {until - MOMENT: {"stop:ps1": last}, until: {}}

    run_virtual(story)


@pytest.mark.parametrize(
    ("works", "forgotten"),
    [
        P(STOP, True, id="the same"),
        P(replace(STOP, id=7, reason=Reason.OPERATOR_REQUEST), True, id="the same for another reason"),
        P(intent(Verb.STOP, 2), False, id="of another machine"),
        P(intent(Verb.START, 1), False, id="another verb"),
        P(CREATE, False, id="one that was never refused"),
    ],
)
def test_a_call_that_is_accepted_ends_its_refusals(works: Any, forgotten: bool) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            recall = new(journal)
            recall.refused(STOP, "no", NOW)
            recall.accepted(works)
            assert (not (await recall.memory(NOW, provider_failing=FAILING)).refusals) is forgotten
            assert recall.refused(STOP, "no", NOW) == NOW + (FIRST if forgotten else SECOND)

    run_virtual(story)


def test_a_new_config_has_refused_calls_tried_anew_unless_the_provider_was_busy() -> None:
    async def story() -> None:
        async with a_journal() as journal:
            recall = new(journal)
            recall.refused(STOP, "no", NOW)
            recall.refused(intent(Verb.STOP, 2), "slow down", NOW, why=Reason.RATE_LIMITED)
            await recall.setbacks.add(CREATE, "vanished", NOW)
            recall.forget_refusals()
            given = await recall.memory(NOW, provider_failing=FAILING)
            assert {k: b.why for k, b in given.refusals.items()} == {"stop:ps2": Reason.RATE_LIMITED}
            assert not given.futile, "nor has a create been in vain by it"

    run_virtual(story)


@pytest.mark.parametrize(
    ("asked", "at", "until"),
    [
        P([], 0, None, id="never"),
        P([(0, 60)], 0, (60, "0"), id="for a minute"),
        P([(0, 60)], 59, (60, "0"), id="a moment before its end"),
        P([(0, 60)], 60, None, id="at its end"),
        P([(0, 60)], -61, None, id="a clock that was set back prolongs no wait"),
        P([(0, 60), (10, 60)], 10, (70, "10"), id="longer than before"),
        P([(0, 60), (10, 50)], 10, (60, "0"), id="just as long: the first words stand"),
        P([(0, 60), (10, 5)], 10, (60, "0"), id="a shorter one ends none"),
        P([(0, 60), (70, 5)], 70, (75, "70"), id="a shorter one after the first is over"),
    ],
)
def test_how_long_the_provider_asked_creates_to_wait(
    asked: list[tuple[float, float]], at: float, until: tuple[float, str] | None
) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            recall = new(journal)
            for when, lasts in asked:
                recall.creates_must_wait(timedelta(seconds=lasts), str(when), later(seconds=when))
            expected = None if until is None else (later(seconds=until[0]), until[1])
            assert recall.creates_wait(later(seconds=at)) == expected
            given = await recall.memory(later(seconds=at), provider_failing=FAILING)
            assert given.creates_wait == expected

    run_virtual(story)


def test_a_verdict_is_given_once() -> None:
    async def story() -> None:
        async with a_journal() as journal:
            recall = new(journal)
            one = await journal.write_intent(STOP)
            assert await recall.verdicts.give(one, Outcome.REACHED, None, NOW)
            assert not await recall.verdicts.give(one, Outcome.LOST, None, NOW)
            assert recall.verdicts.given(one.id)
            assert not await journal.open_intents()

    run_virtual(story)


def test_an_ending_is_its_machines_and_no_namesakes() -> None:
    """What is remembered is found by the id: another machine of the same name is another machine."""

    async def story() -> None:
        async with a_journal() as journal:
            recall = new(journal)
            await recall.put([facts(1)])
            await recall.ended(intent(Verb.DESTROY, 2, name=token_name(1)), Outcome.REACHED, None, NOW)
            await recall.ended(intent(Verb.CREATE, None, name=token_name(1)), Outcome.LOST, None, NOW)
            assert recall.facts == {"ps1": facts(1)}

    run_virtual(story)
