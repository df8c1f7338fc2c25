"""What a daemon keeps in mind is told whole, taken over whole, and read with care where another version told it."""

from __future__ import annotations

import copy
import functools
import json
import operator
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from fleetd.config import config_digest
from fleetd.engine.look import Look
from fleetd.engine.observer import Observer
from fleetd.engine.pace import Pace
from fleetd.engine.recall import Recall
from fleetd.model.fleet import IdleRule
from fleetd.model.in_mind import NOTHING, CreatesWait, Declined, IdleClockTold, InMind, SnapshotLook
from fleetd.model.journal import IdleReport
from fleetd.model.plan import Check
from fleetd.model.reasons import Activity, Outcome, Reason, Verb
from fleetd.model.report import Report, decoded, encoded
from fleetd.ops.control_errors import NoAnswer, OtherDaemon
from fleetd.planner.idle import IdleClock
from fleetd.planner.ownership import Owner
from fleetd.wiring import dry_run
from fleetd.wiring.dry_run import assumed
from tests.engine.test_settling import SETTLE, world
from tests.support.build import NOW, ago, facts, fleet, intent, later, machine
from tests.support.fake_handle import a_machine, a_report
from tests.support.fakecloud import FakeCloud
from tests.support.journals import a_journal
from tests.support.rig import RecordingMeter, Rig, rig, settings
from tests.support.virtual_time import run_virtual, virtual_clock

P = pytest.param
REFUSED = Declined(
    until=later(minutes=1), words="no", since=ago(minutes=1), attempt=2, why=Reason.REFUSED_RECENTLY, lasts_s=90.0
)
BUSY = Declined(until=later(minutes=1), words="slow down", why=Reason.RATE_LIMITED, lasts_s=90.0)
WHOLE = InMind(
    checks={"ps1": {"snapshot_check": "day 7"}},
    unjudged=("ps1", "ps2"),
    snapshots={
        "ps1": SnapshotLook(at=ago(minutes=4), newest_at=ago(hours=1)),
        "ps2": SnapshotLook(at=NOW, doubt="?"),
    },
    refusals={"create:training": REFUSED, "stop:ps1": BUSY},
    creates_wait=CreatesWait(since=ago(seconds=5), lasts_s=60.0, words="later"),
    reconfigured=True,
    looked_at=ago(seconds=30),
    looked_for={3: ago(seconds=200)},
    unidentified=2,
    doubtful=("ps3", "ps1"),
    idle_clocks={"ps1": IdleClockTold(since=ago(hours=1), last_at=ago(seconds=9), uncovered_s=3.0, gap_s=1.0)},
)
"""All but what the daemon itself adds."""


async def look_of(world: Rig, journal: Any) -> Look:
    reconciler = world.reconciler
    look = Look(
        world.cloud, Recall(journal, RecordingMeter()), world.clock, reconciler._idleness, world.faults,
        lambda: Pace.of(reconciler.settings),
    )  # fmt: skip
    await look.load()
    return look


def test_all_that_was_told_is_told_again() -> None:
    async def story() -> None:
        async with rig() as one, a_journal() as journal:
            look = await look_of(one, journal)
            assert look.in_mind() == NOTHING
            await look._recall.setbacks.add(intent(Verb.CREATE), "vanished", NOW)
            told = decoded(encoded(a_report(in_mind=WHOLE)), Report).in_mind
            assert told == WHOLE
            look.assume(told, {"ps1": IdleReport("idle", ago(hours=1), "0 %")})
            assert look.in_mind() == WHOLE

    run_virtual(story, start=NOW)


def test_what_the_daemon_adds() -> None:
    async def story() -> None:
        async with rig() as one:
            one.reconciler.executor.unanswered |= {5, 4}
            one.reconciler.health.failing_since = ago(minutes=3)
            told = one.reconciler.in_mind()
            assert (told.unanswered, told.failing_since) == ((4, 5), ago(minutes=3))
            assert told.config == config_digest(one.reconciler.settings)
            one.configure(fleet(target=9))
            assert one.reconciler.in_mind().config == config_digest(one.reconciler.settings) != told.config

    run_virtual(story, start=NOW)


def test_what_only_another_version_knows_is_left_out() -> None:
    odd = InMind(
        checks={"ps1": {"snapshot_check": "day 7", "a check to come": "?"}},
        refusals={"stop:ps1": structs.replace(REFUSED, why=Reason("a reason to come"))},
    )

    async def story() -> None:
        async with rig() as one, a_journal() as journal:
            look = await look_of(one, journal)
            look.assume(decoded(encoded(a_report(in_mind=odd)), Report).in_mind, None)
            assert look.checks.standing() == {"ps1": {Check.SNAPSHOT: "day 7"}}
            assert look._recall.refusals(NOW)["stop:ps1"].why is Reason.REFUSED_RECENTLY

    run_virtual(story, start=NOW)


OURS = settings(fleet())
TOLD = structs.replace(WHOLE, config=config_digest(OURS), reconfigured=False)
RELOADED = structs.replace(TOLD, refusals={"stop:ps1": BUSY}, reconfigured=True)


@pytest.mark.parametrize(
    ("told", "want", "at", "expected"),
    [
        P(TOLD, OURS, None, TOLD, id="the file is as it was read"),
        P(TOLD, settings(fleet(target=9)), None, RELOADED, id="the file says something new: as after its reload"),
        P(NOTHING, OURS, None, NOTHING, id="one of an earlier version does not say"),
        P(TOLD, OURS, later(hours=9), structs.replace(TOLD, checks={}), id="by then the schedules will have rung"),
    ],
)
def test_what_a_plan_assumes(told: InMind, want: Any, at: Any, expected: InMind) -> None:
    assert assumed(told, want, at) == expected


IDLE = {"id": "ps1", "idle": {"verdict": "idle", "since": ago(hours=1), "evidence": "0 %"}}
RUNNING = a_report(in_mind=TOLD, machines=[a_machine("a", **IDLE), a_machine("b")])
SAID = {"ps1": IdleReport("idle", ago(hours=1), "0 %")}


@pytest.mark.parametrize(
    ("running", "at", "asked"),
    [
        P(RUNNING, None, {"idle": SAID, "mind": TOLD}, id="a daemon runs"),
        P(RUNNING, NOW, {"idle": SAID, "mind": structs.replace(TOLD, checks={})}, id="for another time"),
        P(None, None, {"idle": None, "mind": NOTHING}, id="none does"),
        P(NoAnswer("it hangs"), None, {"idle": None, "mind": NOTHING}, id="it does not answer"),
        P(OtherDaemon("another"), None, {"idle": None, "mind": NOTHING}, id="another file's does"),
    ],
)
async def test_a_plan_asks_the_daemon(
    running: Any, at: Any, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[dict[str, Any]] = []

    async def status(_settings: Any) -> Any:
        if isinstance(running, Exception):
            raise running
        return running

    async def look(_settings: Any, **fields: Any) -> Any:
        looks.append(fields)

    monkeypatch.setattr(dry_run, "running_status", status)
    monkeypatch.setattr(dry_run, "look_once", look)
    await dry_run.plan_once(OURS, at=at)
    assert looks == [{"at": at, "forecast": False} | asked]


@pytest.mark.parametrize(
    ("looked_for", "ends"),
    [
        P({}, [], id="looked for since the last look, half a minute ago"),
        P({1: ago(seconds=SETTLE)}, [Outcome.LOST], id="for as long as it takes"),
        P({1: ago(seconds=SETTLE - 1)}, [], id="for a second less"),
    ],
)
def test_a_lost_create_is_looked_for_as_long_as_was_told(looked_for: Any, ends: list[str]) -> None:
    async def story() -> None:
        async with world() as w:
            await w.written(intent(Verb.CREATE), ambiguous_since=ago(hours=1))
            w.settling.assume(ago(seconds=30), looked_for)
            await w.one_pass()
            assert [outcome for outcome, _ in await w.endings()] == ends

    run_virtual(story, start=NOW)


def test_a_survey_looks_at_those_whose_turn_it_is() -> None:
    """Four are listed otherwise than they were left, and one pass looks at two."""

    async def story() -> None:
        cloud = FakeCloud(virtual_clock())
        ids = [cloud.add(f"training-{n}", "off").id for n in range(4)]
        observer = Observer(cloud, cloud.clock, looks=lambda: 2)
        observer.assume(0, (ids[1], ids[0]))
        left = [facts(n + 1, last_state="ready") for n in range(4)]
        await observer.observe(ids, lambda _machines: left)
        assert [c.machine for c in cloud.calls if c.operation == "show"] == ids[2:]
        assert observer.doubtful == (ids[1], ids[0], *ids[2:])

    run_virtual(story, start=NOW)


@pytest.mark.parametrize(
    ("told", "verdict", "since", "evidence"),
    [
        P(
            IdleReport(Activity("idle"), ago(hours=1), "gpu: idle, 0 %"),
            "idle",
            ago(hours=1),
            "gpu: idle, 0 %",
            id="idle",
        ),
        P(
            IdleReport(Activity("active"), None, "gpu: active, 90 %"),
            "active",
            None,
            "gpu: active, 90 %",
            id="in use",
        ),
        P(IdleReport(Activity("unknown"), None, "no answer"), "unknown", None, "no answer", id="nobody knows"),
        P(IdleReport(Activity("asleep"), None, "?"), "unknown", None, "not asked yet", id="of another version"),
        P(None, "unknown", None, "not asked yet", id="it has come up since"),
    ],
)
def test_the_sources_say_what_the_daemon_was_told_last(told: Any, verdict: str, since: Any, evidence: str) -> None:
    want = fleet(idle=IdleRule(("gpu", "ssh"), after=timedelta(minutes=20), min_uptime=timedelta(0)))

    async def story() -> None:
        async with rig(want, sources={}) as one:
            idleness = one.reconciler._idleness
            reports = {} if told is None else {"ps1": told}
            idleness.assume(reports, {"ps1": IdleClock(ago(hours=1), ago(seconds=30))})
            found = await idleness.refresh(
                [want], [machine(1)], {"ps1": Owner("training", adopted=False)}, (), interval=timedelta(seconds=30)
            )
            report = found["ps1"]
            assert (report.verdict, report.idle_since, report.evidence) == (verdict, since, evidence)

    run_virtual(story, start=NOW)


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where instants stand in what was told."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _places(one, (*place, key))
    elif isinstance(value, str) and value.startswith("2026-"):
        yield place


TOLD_AS_SENT = json.loads(encoded(a_report(in_mind=structs.replace(WHOLE, failing_since=NOW))))["in_mind"]


@pytest.mark.parametrize("place", list(_places(TOLD_AS_SENT)), ids=".".join)
@pytest.mark.parametrize(
    "instant",
    ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59"],
)
def test_no_instant_that_was_told_ends_a_plan(place: tuple[str, ...], instant: str) -> None:
    sent = copy.deepcopy(TOLD_AS_SENT)
    functools.reduce(operator.getitem, place[:-1], sent)[place[-1]] = instant
    told = decoded(json.dumps(sent).encode(), InMind)
    idle_since = datetime.fromisoformat(instant)

    async def story() -> None:
        async with rig(fleet(idle=IdleRule(timedelta(minutes=1), timedelta(0), ("gpu",)))) as one:
            one.cloud.add("training-1", "ready")
            one.reconciler._look.assume(told, {"ps1": IdleReport("idle", idle_since, "0 %")})
            one.reconciler.in_mind()
            await one.reconciler.run_pass()
            decoded(encoded(a_report(in_mind=one.reconciler.in_mind())), Report)

    run_virtual(story, start=NOW)


@pytest.mark.parametrize(
    ("running", "warned"),
    [
        P(RUNNING, [], id="it tells"),
        P(structs.replace(RUNNING, in_mind=NOTHING), [RUNNING.daemon.pid], id="one of an earlier version does not"),
        P(None, [], id="none runs"),
    ],
)
async def test_a_plan_says_where_the_daemon_does_not_tell(
    running: Any, warned: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def status(_settings: Any) -> Any:
        return running

    async def look(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(dry_run, "running_status", status)
    monkeypatch.setattr(dry_run, "look_once", look)
    heard: list[Any] = []
    await dry_run.plan_once(OURS, on_untold=heard.append)
    assert heard == warned
