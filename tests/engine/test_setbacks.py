"""What came to nothing, as it is kept: over restarts, over rubbish, over steps of the clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fleetd.engine.setbacks import FORGOTTEN_AFTER, NOTE, Setbacks
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.store.sqlite import SqliteJournal
from tests.support.build import NOW, intent, later
from tests.support.inline_executor import InlineExecutor
from tests.support.virtual_time import run_virtual, virtual

STOP = intent(Verb.STOP, 1, reason=Reason.OVER_TARGET, baseline_event="old")
CREATE = intent(Verb.CREATE)


async def setbacks(tmp_path: Path) -> tuple[SqliteJournal, Setbacks]:
    journal = await SqliteJournal.open(tmp_path / "journal.db", executor=InlineExecutor())
    found = Setbacks(journal)
    await found.load()
    return journal, found


def test_it_waits_longer_each_time_and_an_effect_ends_it(tmp_path: Path) -> None:
    @virtual
    async def check() -> None:
        journal, kept = await setbacks(tmp_path)
        now, waits = NOW, []
        for _ in range(6):
            back = await kept.add(STOP, "host is gone", now)
            waits.append((back.until - now).total_seconds() / 60)
            now = back.until
            kept = Setbacks(journal)
            await kept.load()
        assert waits == [1, 2, 5, 10, 30, 30]
        ((key, back),) = kept.known(now).items()
        assert (key, back.attempt, back.since, back.words) == ("stop:ps1", 6, NOW, "host is gone")
        await kept.worked(STOP, now)
        assert kept.known(now) == {}
        kept = Setbacks(journal)
        await kept.load()
        assert kept.known(now) == {}
        await journal.aclose()

    check()


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{",
        "[]",
        "17",
        "null",
        '{"stop:ps1": 5}',
        '{"stop:ps1": {"until": 5}}',
        '{"stop:ps1": {"until": "2026-03-02T12:01:00", "words": "", "since": null, "attempt": 1, "baseline": null}}',
        '{"stop:ps1": {"until": "soon", "words": "", "since": null, "attempt": 1, "baseline": null}}',
        '{"stop:ps1": {"until": "2026-03-02T12:01:00Z", "words": "", "since": 5, "attempt": []}}',
    ],
)
def test_rubbish_in_the_note_is_left_out(tmp_path: Path, note: str) -> None:
    @virtual
    async def check() -> None:
        journal, kept = await setbacks(tmp_path)
        await journal.put_note(NOTE, note)
        await kept.load()
        assert kept.known(NOW) == {}
        await kept.add(STOP, "x", NOW)
        assert set(kept.known(NOW)) == {"stop:ps1"}
        await journal.aclose()

    check()


@pytest.mark.parametrize(
    ("after", "waits", "counts"),
    [
        (timedelta(seconds=30), True, True),
        (timedelta(minutes=1), False, True),
        (FORGOTTEN_AFTER, False, True),
        (FORGOTTEN_AFTER + timedelta(minutes=1), False, False),
        (-timedelta(hours=10), False, False),
        (timedelta(days=100), False, False),
    ],
)
def test_when_it_waits_and_when_it_counts(tmp_path: Path, after: timedelta, waits: bool, counts: bool) -> None:
    """A clock that is set back prolongs no wait; what nobody has tried again for an hour is not wanted any more."""

    @virtual
    async def check() -> None:
        journal, kept = await setbacks(tmp_path)
        await kept.add(STOP, "x", NOW)
        found = kept.known(NOW + after)
        assert bool(found) is counts
        assert any(NOW + after < back.until for back in found.values()) is waits
        await journal.aclose()

    check()


def test_creates_that_fail_together_are_one_trouble(tmp_path: Path) -> None:
    @virtual
    async def check() -> None:
        journal, kept = await setbacks(tmp_path)
        for _ in range(4):
            back = await kept.add(CREATE, "vanished", NOW)
        assert back.attempt == 1
        back = await kept.add(CREATE, "vanished", later(minutes=1))
        assert back.attempt == 2
        await journal.aclose()

    check()


def test_a_new_config_has_creates_and_updates_tried_anew(tmp_path: Path) -> None:
    @virtual
    async def check() -> None:
        journal, kept = await setbacks(tmp_path)
        update = intent(Verb.UPDATE, 1, reason=Reason.TIMEOUT_DRIFT)
        for one in (STOP, CREATE, update):
            await kept.add(one, "x", NOW)
        assert set(kept.known(NOW)) == {"stop:ps1", "create:training", "update:ps1:timeout_drift"}
        kept.reconfigured()
        assert set(kept.known(NOW)) == {"stop:ps1"}
        await journal.aclose()

    check()


@pytest.mark.parametrize("restarted", [False, True])
def test_an_effect_that_is_undone_at_once_is_known_after_a_restart_too(tmp_path: Path, restarted: bool) -> None:
    """What the effect had cleared counts again; who asks twice is told once."""

    async def story() -> None:
        journal, kept = await setbacks(tmp_path)
        start = intent(Verb.START, 1)
        await kept.add(start, "the host is gone", NOW)
        await kept.add(start, "the host is gone", NOW + timedelta(minutes=1))
        written = await journal.write_intent(start)
        done = NOW + timedelta(minutes=4)
        await kept.worked(written, done)
        await journal.close_intent(written.id, at=done, outcome=Outcome.REACHED)
        assert kept.known(done) == {}
        if restarted:
            kept = Setbacks(journal)
            await kept.load()
            assert kept.known(done) == {}
        back = await kept.undone("ps1", up=False, now=done + timedelta(minutes=5))
        assert back is not None
        assert (back.attempt, back.words) == (3, "it was undone 300 s after its effect")
        assert await kept.undone("ps1", up=False, now=done + timedelta(minutes=5)) is None
        await journal.aclose()

    run_virtual(story)


def test_a_setting_that_was_undone_is_known_after_a_restart_too(tmp_path: Path) -> None:
    async def story() -> None:
        journal, kept = await setbacks(tmp_path)
        change = {"shutdown_timeout_hours": 24, "shutdown_timeout_forces": False}
        update = intent(Verb.UPDATE, 1, reason=Reason.TIMEOUT_DRIFT, parameters=change)
        written = await journal.write_intent(update)
        assert await kept.worked(written, NOW) is None
        await journal.close_intent(written.id, at=NOW, outcome=Outcome.REACHED)
        kept = Setbacks(journal)
        await kept.load()
        back = await kept.worked(replace(written, id=9), NOW + timedelta(hours=3))
        assert back is not None
        assert back.words == "it was set before, and was undone since"
        await journal.aclose()

    run_virtual(story)


@pytest.mark.parametrize(
    ("forgiven", "attempts", "waits"),
    [
        ([True], [0], [0]),
        ([True, True], [0, 1], [0, 60]),
        ([True, False], [0, 1], [0, 60]),
        ([False, True], [1, 2], [60, 120]),
        ([False, False, True], [1, 2, 3], [60, 120, 300]),
    ],
    ids=str,
)
def test_the_first_in_a_row_may_be_forgiven(
    tmp_path: Path, forgiven: list[bool], attempts: list[int], waits: list[int]
) -> None:
    @virtual
    async def check() -> None:
        journal, kept = await setbacks(tmp_path)
        backs = [await kept.add(STOP, "x", later(minutes=n), forgiven=one) for n, one in enumerate(forgiven)]
        assert [back.attempt for back in backs] == attempts
        assert [(back.until - later(minutes=n)).total_seconds() for n, back in enumerate(backs)] == waits
        assert {back.since for back in backs} == {NOW}
        await journal.aclose()

    check()


@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize("baseline", ["old", None])
def test_all_of_it_is_there_after_a_restart(tmp_path: Path, baseline: str | None, cleared: bool) -> None:
    @virtual
    async def check() -> None:
        journal, kept = await setbacks(tmp_path)
        one = replace(STOP, baseline_event=baseline)
        back = await kept.add(one, "it went on", NOW)
        assert (back.baseline, back.words, back.since) == (baseline, "it went on", NOW)
        if cleared:
            await kept.worked(one, later(minutes=1))
        again = Setbacks(journal)
        await again.load()
        assert (again._known, again._cleared) == (kept._known, kept._cleared)
        assert list(again.known(NOW).values()) == ([] if cleared else [back])
        await journal.aclose()

    check()


def test_since_is_the_earliest_by_any_clock(tmp_path: Path) -> None:
    @virtual
    async def check() -> None:
        journal, kept = await setbacks(tmp_path)
        await kept.add(STOP, "x", NOW)
        assert (await kept.add(STOP, "x", later(seconds=30))).since == NOW
        assert (await kept.add(STOP, "x", later(seconds=-5))).since in {NOW, later(seconds=-5)}
        await journal.aclose()

    check()


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("verb", [Verb.UPDATE, Verb.DESTROY])
def test_what_moves_no_machine_is_undone_by_no_turn(tmp_path: Path, verb: Verb, up: bool) -> None:
    @virtual
    async def check() -> None:
        journal, kept = await setbacks(tmp_path)
        await kept.worked(intent(verb, 1, reason=Reason.TIMEOUT_DRIFT), NOW)
        assert await kept.undone("ps1", up=up, now=later(seconds=5)) is None
        assert kept.known(NOW) == {}
        await journal.aclose()

    check()


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("verb", [Verb.CREATE, Verb.START, Verb.RESTART, Verb.STOP])
@pytest.mark.parametrize("restarted", [False, True])
def test_which_turn_undoes_a_call(tmp_path: Path, verb: Verb, up: bool, late: bool, restarted: bool) -> None:
    """One the other way, soon after its effect; of a create it is the start that was in vain."""

    @virtual
    async def check() -> None:
        journal, kept = await setbacks(tmp_path)
        call = await journal.write_intent(intent(verb, 1, id=0, reason=Reason.OVER_TARGET))
        await journal.close_intent(call.id, at=NOW, outcome=Outcome.REACHED)
        await kept.worked(call, NOW)
        if restarted:
            kept = Setbacks(journal)
            await kept.load()
        back = await kept.undone("ps1", up=up, now=later(minutes=11 if late else 1))
        undone = up is (verb is Verb.STOP) and not late
        assert (back is not None) is undone
        key = "stop:ps1" if verb is Verb.STOP else "start:ps1"
        assert set(kept.known(later(minutes=1))) == ({key} if undone else set())
        await journal.aclose()

    check()
