"""A machine whose stop or destroy may have its effect late counts as going: the plan takes no other in its place."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fleetd.engine.departures import DECLINED, LATE, NOTE, Departures
from fleetd.model.fleet import Guards, IdleRule, Limit, ScaleIn, Window
from fleetd.model.journal import Departure, IdleReport, Intent, MachineFacts, Memory, Setback, setback_key
from fleetd.model.machine import Machine
from fleetd.model.plan import Observation
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.plan import plan
from fleetd.store.sqlite import SqliteJournal
from tests.support.build import NOW, ago, fleet, later, token_name
from tests.support.inline_executor import InlineExecutor
from tests.support.virtual_time import run_virtual

LOOSE = Guards(max_stops_per_pass=Limit(percent=100))
IDLE = IdleReport("idle", ago(hours=9), at=NOW)
NIGHT = Window("night", 0, 1440, "UTC", target=1, park_idle=True)
WAITS = {setback_key(Verb.STOP, "ps1"): Setback(later(minutes=1), "nothing came of it")}
GOING = {"ps1": Departure(ago(minutes=5), LATE)}


def stops(memory: Memory, *, parks: bool, up_since: timedelta = timedelta(hours=9)) -> set[str | None]:
    """Of three machines, of which one should be up."""
    seen = tuple(Machine(f"ps{n}", token_name(n), "ready") for n in (1, 2, 3))
    facts = {m.id: MachineFacts(m.id, "training", m.name, NOW, NOW, "ready", up_since=NOW - up_since) for m in seen}
    want = fleet(target=1, guards=LOOSE)
    if parks:
        want = fleet(
            target=3, guards=LOOSE, windows=(NIGHT,), idle=IdleRule(("gpu",), timedelta(hours=1), timedelta(0))
        )
    known = replace(memory, facts=facts, idle={m.id: IDLE for m in seen} if parks else {})
    return {a.machine for a in plan((want,), Observation(NOW, seen), known, NOW).actions if a.verb is Verb.STOP}


@pytest.mark.parametrize("parks", [False, True], ids=["over target", "parking"])
def test_what_may_go_late_goes_first_and_counts(parks: bool) -> None:
    assert len(stops(Memory(), parks=parks)) == 2
    waiting = stops(Memory(departing=GOING, futile=WAITS), parks=parks)
    assert len(waiting) == 1
    assert "ps1" not in waiting
    again = stops(Memory(departing=GOING), parks=parks)
    assert len(again) == 2
    assert "ps1" in again


@pytest.mark.parametrize("parks", [False, True], ids=["over target", "parking"])
def test_one_that_came_up_since_does_not_count(parks: bool) -> None:
    since = timedelta(minutes=2) if not parks else timedelta(hours=3)
    going = {"ps1": Departure(NOW - since - timedelta(minutes=1), timedelta(hours=9))}
    assert stops(Memory(departing=going, futile=WAITS), parks=parks, up_since=since) == {"ps2", "ps3"}


@pytest.mark.parametrize(
    ("departing", "destroyed"),
    [
        pytest.param({}, 2, id="nothing is late"),
        pytest.param({"ps1": Departure(ago(minutes=5), LATE, Verb.DESTROY)}, 1, id="one is"),
        pytest.param(
            {m: Departure(ago(minutes=5), LATE, Verb.DESTROY) for m in ("ps1", "ps2")},
            0,
            id="as many as the guard has",
        ),
        pytest.param({"ps1": Departure(ago(minutes=5), LATE, Verb.STOP)}, 2, id="a stop is"),
        pytest.param({"ps9": Departure(ago(minutes=5), LATE, Verb.DESTROY)}, 2, id="one that is no more"),
    ],
)
def test_destroys_that_are_late_use_up_the_guard_on_destroys(departing: dict[str, Departure], destroyed: int) -> None:
    seen = tuple(Machine(f"ps{n}", token_name(n), "off" if n > 2 else "destroying") for n in range(1, 7))
    facts = {m.id: MachineFacts(m.id, "training", m.name, NOW, NOW, m.state) for m in seen}
    want = fleet(
        target=0, guards=Guards(max_destroys_per_pass=2), scale_in=ScaleIn.DESTROY, allow_destroy=True, standby=0
    )
    there = Observation(NOW, seen, leaving=frozenset({"ps1", "ps2"}))
    decided = plan((want,), there, Memory(facts=facts, departing=departing), NOW)
    assert [a.verb for a in decided.actions] == [Verb.DESTROY] * destroyed


def test_a_destroy_that_is_late_does_not_keep_its_own_machine_from_another_one() -> None:
    machine = Machine("ps1", token_name(1), "off")
    facts = {"ps1": MachineFacts("ps1", "training", machine.name, NOW, NOW, "off")}
    want = fleet(target=0, guards=Guards(max_destroys_per_pass=1), scale_in=ScaleIn.DESTROY, allow_destroy=True)
    late = {"ps1": Departure(ago(minutes=5), LATE, Verb.DESTROY)}
    decided = plan((want,), Observation(NOW, (machine,)), Memory(facts=facts, departing=late), NOW)
    assert [(a.verb, a.machine) for a in decided.actions] == [(Verb.DESTROY, "ps1")]


def intent(verb: Verb) -> Intent:
    return Intent(1, "training", verb, Reason.OVER_TARGET, "training-x", NOW, NOW, "ps1")


def test_they_outlive_a_restart_and_end(tmp_path: Path) -> None:
    async def story() -> None:
        journal = await SqliteJournal.open(tmp_path / "journal.db", executor=InlineExecutor())
        departures = Departures(journal)
        await departures.add(intent(Verb.START), NOW)
        assert departures.known(NOW) == {}
        await departures.add(intent(Verb.STOP), NOW, declined=True)
        await departures.add(intent(Verb.STOP), later(minutes=9), declined=True)
        assert departures.known(later(minutes=9.5)).keys() == {"ps1"}
        assert departures.known(NOW + DECLINED) == {}, "a call that is declined again is believed"
        await departures.add(intent(Verb.DESTROY), later(minutes=20))
        await departures.add(intent(Verb.DESTROY), later(minutes=40))
        restarted = Departures(journal)
        await restarted.load()
        assert restarted.known(later(minutes=69))["ps1"].verb is Verb.DESTROY
        assert restarted.known(later(minutes=70)) == {}
        await journal.aclose()

    run_virtual(story)


@pytest.mark.parametrize(
    "note",
    [None, "", "[]", "17", "{", '{"ps1": 5}', '{"ps1": {"at": 7, "s": 1}}', '{"ps1": {"at": "2026-03-02", "s": "x"}}',
     json.dumps({"ps1": {"at": NOW.isoformat(), "s": 1e300}}), json.dumps({"ps1": {"at": "2026-03-02", "s": 60}})],
)  # fmt: skip
def test_rubbish_in_the_note_is_left_out(tmp_path: Path, note: str | None) -> None:
    async def story() -> None:
        journal = await SqliteJournal.open(tmp_path / "journal.db", executor=InlineExecutor())
        if note is not None:
            await journal.put_note(NOTE, note)
        departures = Departures(journal)
        await departures.load()
        assert departures.known(NOW) == {}
        await journal.aclose()

    run_virtual(story)
