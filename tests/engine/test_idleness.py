"""The last word before a stop, one answer and one rule at a time, and how long a round may keep the idle clocks."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.idleness import Idleness
from fleetd.engine.leases import Leases
from fleetd.model.fleet import IdleRule
from fleetd.model.journal import Hold, KeptLease
from fleetd.model.machine import Machine, MachineEvent
from fleetd.model.plan import Action
from fleetd.model.reasons import Activity, Reason, Verb
from fleetd.planner.idle import GAPS, IdleClock, Reading
from fleetd.planner.ownership import Owner
from tests.support.build import NOW, fleet, machine
from tests.support.virtual_time import VirtualClock, run_virtual, virtual_clock

HALF_HOUR = timedelta(minutes=30)
INTERVAL = timedelta(seconds=60)
RULE = IdleRule(("gpu",), after=HALF_HOUR, min_uptime=timedelta(minutes=5))
WANT = fleet(idle=RULE)
P = pytest.param


class Asked:
    """A source that says what it is told to say, after what happens while it is asked."""

    name = "gpu"

    def __init__(self) -> None:
        self.verdict = Activity.IDLE
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.listed: list[Sequence[Machine]] = []

    async def read(self, machines: Sequence[Machine], *, window: timedelta, now: Any) -> Mapping[str, Reading]:
        if self.meanwhile is not None:
            await self.meanwhile()
        return {m.id: Reading("gpu", self.verdict, now, str(self.verdict)) for m in machines}

    async def aclose(self) -> None:
        pass


class World:
    def __init__(self) -> None:
        self.clock: VirtualClock = virtual_clock()
        self.source = Asked()
        self.notes: dict[str, str] = {}
        self.holds: list[Hold] = []
        self.kept: dict[tuple[str, str], KeptLease] = {}
        journal: Any = SimpleNamespace(
            get_note=self._get,
            put_note=self._put,
            holds=self._holds,
            leases=self._leases,
            put_leases=self._put_leases,
        )
        self.leases = Leases(journal)
        self.idleness = Idleness(lambda _tables: {"gpu": self.source}, self.leases, journal, self.clock)

    async def _get(self, key: str) -> str | None:
        return self.notes.get(key)

    async def _put(self, key: str, value: str) -> None:
        self.notes[key] = value

    async def _holds(self, *, now: Any) -> list[Hold]:
        return [h for h in self.holds if h.expires_at > now]

    async def _leases(self) -> list[KeptLease]:
        return list(self.kept.values())

    async def _put_leases(self, leases: Iterable[KeptLease], *, drop: Iterable[tuple[str, str]] = ()) -> None:
        for key in drop:
            self.kept.pop(key, None)
        self.kept |= {(one.machine, one.source): one for one in leases}

    async def lease(self, lasts: timedelta) -> None:
        now = self.clock.now()
        await self.leases.put("ps1", "job", now + lasts, "ada", now=now)

    async def passes(self, count: int, *machines: Machine) -> dict[str, Any]:
        reports: dict[str, Any] = {}
        seen = machines or (machine(1), machine(2))
        for _ in range(count):
            await anyio.sleep(INTERVAL.total_seconds())
            reports = await self.idleness.refresh(
                [WANT], seen, {m.id: Owner("training", adopted=False) for m in seen}, [], interval=INTERVAL
            )
        return reports

    async def word(self, reason: Reason, **fields: Any) -> Reason | None:
        want = fields.pop("fleet", WANT)
        asked = fields.pop("machine", machine(1))
        verb = fields.pop("verb", Verb.STOP)
        return await self.idleness.last_word(
            want, Action(verb, "training", reason, machine="ps1", name="a", **fields), asked
        )


def on(story: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        world = World()
        await world.idleness.load()
        await world.idleness.use({})
        await story(world)
        await world.idleness.aclose()

    run_virtual(run)


LONG_IDLE = 35
CLOCKS, LEARNT = "idle_clocks", "idle_sources_learnt"
CAREFUL = [Reason.PARKED_IDLE, Reason.OVER_TARGET, Reason.OUTLIVED_TIMEOUT, Reason.OPERATOR_REQUEST]


@pytest.mark.parametrize("reason", CAREFUL)
@pytest.mark.parametrize(
    ("verdict", "forbids"),
    [(Activity.IDLE, None), (Activity.ACTIVE, Reason.BUSY), (Activity.UNKNOWN, Reason.ACTIVITY_UNKNOWN)],
)
def test_what_the_sources_say_right_before_a_stop_counts(reason: Reason, verdict: Activity, forbids: Any) -> None:
    async def story(world: World) -> None:
        await world.passes(LONG_IDLE)
        world.source.verdict = verdict
        assert await world.word(reason) is forbids
        assert (CLOCKS in world.notes) is (forbids is Reason.BUSY), "what was use is known to the next process"
        world.source.verdict = Activity.IDLE
        again = Reason.NOT_IDLE_LONG_ENOUGH if reason is not Reason.OPERATOR_REQUEST else None
        assert await world.word(reason) is (again if verdict is Activity.ACTIVE else None), "that was use"

    on(story)


@pytest.mark.parametrize("reason", CAREFUL)
@pytest.mark.parametrize("when", ["before", "while the sources are asked"])
def test_a_lease_forbids_a_stop_also_when_it_is_taken_while_the_sources_are_asked(reason: Reason, when: str) -> None:
    async def story(world: World) -> None:
        await world.passes(LONG_IDLE)
        if when == "before":
            await world.lease(HALF_HOUR)
        else:
            world.source.meanwhile = lambda: world.lease(HALF_HOUR)
        assert await world.word(reason) is Reason.BUSY
        assert (world.idleness._clocks["ps1"].idle_since is None) is (when != "before")

    on(story)


@pytest.mark.parametrize(
    ("ago", "forbids"),
    [
        (timedelta(minutes=29), Reason.NOT_IDLE_LONG_ENOUGH),
        (timedelta(minutes=30), None),
        (timedelta(minutes=40), None),
    ],
)
def test_a_lease_that_has_ended_since_the_pass_is_use_until_then(ago: timedelta, forbids: Reason | None) -> None:
    async def story(world: World) -> None:
        await world.passes(LONG_IDLE + 30)
        now = world.clock.now()
        await world.leases.put("ps1", "job", now, "ada", now=now)
        await anyio.sleep(ago.total_seconds())
        assert await world.word(Reason.PARKED_IDLE) is forbids

    on(story)


@pytest.mark.parametrize("passes", [3, 29, 30, 31, 32])
def test_one_that_was_not_idle_for_long_enough_is_not_stopped(passes: int) -> None:
    """Idle since the first pass, so for one interval less than there were passes."""

    async def story(world: World) -> None:
        await world.passes(passes)
        enough = (passes - 1) * INTERVAL >= HALF_HOUR
        assert await world.word(Reason.OVER_TARGET) is (None if enough else Reason.NOT_IDLE_LONG_ENOUGH)
        assert await world.word(Reason.OPERATOR_REQUEST) is None, "an operator need not wait"

    on(story)


@pytest.mark.parametrize(
    ("fields", "asks"),
    [
        P({"reason": Reason.OVER_TARGET}, True, id="a stop of a surplus"),
        P({"reason": Reason.OPERATOR_REQUEST, "even_if_busy": True}, False, id="an operator wants it anyhow"),
        P({"reason": Reason.OPERATOR_REQUEST, "verb": Verb.START}, False, id="a start"),
        P({"reason": Reason.OPERATOR_REQUEST, "verb": Verb.RESTART}, True, id="a restart"),
        P({"reason": Reason.SNAPSHOT_DRIFT, "verb": Verb.UPDATE}, False, id="what takes it from nobody"),
        P({"reason": Reason.OVER_TARGET, "machine": machine(1, "starting")}, False, id="it is not up"),
        P(
            {"reason": Reason.OPERATOR_REQUEST, "machine": machine(1, "starting")},
            False,
            id="nor is this one, and an operator wants it",
        ),
        P({"reason": Reason.OVER_TARGET, "fleet": fleet()}, False, id="nobody can tell of this fleet"),
    ],
)
def test_when_the_sources_are_asked(fields: dict[str, Any], asks: bool) -> None:
    async def story(world: World) -> None:
        world.source.verdict = Activity.ACTIVE
        assert await world.word(**fields) is (Reason.BUSY if asks else None)

    on(story)


@pytest.mark.parametrize("reason", [Reason.OVER_TARGET, Reason.BEYOND_STANDBY, Reason.OPERATOR_REQUEST])
@pytest.mark.parametrize("minutes", [None, 29, 30])
@pytest.mark.parametrize("rule", [RULE, None])
def test_one_that_is_off_is_not_destroyed_within_after_of_a_lease(
    reason: Reason, minutes: int | None, rule: IdleRule | None
) -> None:
    async def story(world: World) -> None:
        if minutes is not None:
            now = world.clock.now()
            await world.leases.put("ps1", "job", now, "ada", now=now)
            await anyio.sleep(minutes * 60)
        said = await world.word(reason, verb=Verb.DESTROY, machine=machine(1, "off"), fleet=fleet(idle=rule))
        lately = minutes == 29 and rule is not None and reason is not Reason.OPERATOR_REQUEST
        assert said is (Reason.NOT_IDLE_LONG_ENOUGH if lately else None)

    on(story)


@pytest.mark.parametrize(("minutes", "forbids"), [(1, True), (29, True), (30, False)])
def test_a_start_that_no_pass_has_seen_begins_the_idle_time_anew_once(minutes: int, forbids: bool) -> None:
    async def story(world: World) -> None:
        await world.passes(LONG_IDLE)
        began = world.clock.now() - timedelta(minutes=minutes)
        restart = MachineEvent("restart", "done", handle="h1", created_at=began, finished_at=began)
        seen = machine(1, events=(restart,))
        assert await world.word(Reason.PARKED_IDLE, machine=seen) is (
            Reason.NOT_IDLE_LONG_ENOUGH if forbids else None
        )
        assert (world.idleness._clocks["ps1"].idle_since is None) is forbids
        if forbids:
            await world.passes(LONG_IDLE)
            assert await world.word(Reason.PARKED_IDLE, machine=seen) is None

    on(story)


def test_the_last_word_is_asked_among_all_machines_of_the_newest_listing() -> None:
    """What two of them share tells of neither."""

    async def story(world: World) -> None:
        shared = [machine(1, private_ip="10.0.0.7"), machine(2, private_ip="10.0.0.7")]
        lists: list[list[str]] = []
        ask = world.idleness._rounds.ask

        async def seen(rule: Any, machines: Any, listed: Any, *, patience: Any) -> Any:
            lists.append([m.id for m in listed])
            return await ask(rule, machines, listed, patience=patience)

        world.idleness._rounds.ask = seen  # type: ignore[method-assign]
        await world.passes(1, *shared)
        await world.word(Reason.OVER_TARGET, machine=shared[0])
        assert lists == [["ps1", "ps2"]] * 2

    on(story)


@pytest.mark.parametrize(("took", "uncovered"), [(0, 20), (5, 5), (7, 0), (50, 0)])
def test_the_next_pass_may_be_later_by_as_much_as_the_round_took(took: int, uncovered: int) -> None:
    """A reading stands for three intervals before it, and for three times as long as its round took."""

    async def story(world: World) -> None:
        await world.passes(LONG_IDLE)
        before = world.idleness._clocks["ps1"]
        world.source.meanwhile = lambda: anyio.sleep(took)
        await anyio.sleep(GAPS * INTERVAL.total_seconds() + 20 - took - INTERVAL.total_seconds())
        await world.passes(1)
        found = world.idleness._clocks["ps1"]
        assert (found.idle_since, found.uncovered) == (before.idle_since, timedelta(seconds=uncovered))

    on(story)


@pytest.mark.parametrize(
    ("passed", "at_once", "used", "written"),
    [
        P(0, False, False, False, id="at once again"),
        P(59, False, False, False, id="within a minute"),
        P(60, False, False, True, id="after a minute"),
        P(-1, False, False, True, id="the clock was set back: nobody knows"),
        P(59, True, False, True, id="the last time"),
        P(59, False, True, True, id="one began anew: the next process would go on with the span from before the use"),
    ],
)
def test_the_clocks_are_written_once_a_minute_or_when_it_matters(
    passed: int, at_once: bool, used: bool, written: bool
) -> None:
    async def story(world: World) -> None:
        await world.passes(3)
        await world.idleness.save()
        assert '"ps1"' in world.notes.pop(CLOCKS), "the first time"
        world.source.verdict = Activity.ACTIVE if used else Activity.IDLE
        if used:
            await world.passes(1)
            world.clock.step(-INTERVAL.total_seconds())
        world.clock.step(passed)
        await (world.idleness.save(at_once=True) if at_once else world.idleness.save())
        assert (CLOCKS in world.notes) is written

    on(story)


def test_one_of_several_that_began_anew_is_enough() -> None:
    async def story(world: World) -> None:
        await world.passes(3)
        await world.idleness.save()
        world.notes.clear()
        await world.lease(INTERVAL)
        world.clock.step(-INTERVAL.total_seconds())
        await world.passes(1)
        assert world.idleness._clocks["ps2"].idle_since is not None
        await world.idleness.save()
        assert CLOCKS in world.notes

    on(story)


def test_the_next_process_goes_on_with_the_clocks_that_were_written() -> None:
    async def story(world: World) -> None:
        await world.passes(LONG_IDLE)
        await world.lease(HALF_HOUR)
        await world.idleness.save(at_once=True)
        assert LEARNT not in world.notes, "such a source learns nothing"
        after = World()
        after.clock, after.notes, after.kept = world.clock, world.notes, world.kept
        await after.idleness.load()
        assert after.idleness._clocks == world.idleness._clocks
        assert after.leases.in_force("ps1", after.clock.now()) is not None
        after.notes.clear()
        after.idleness._clocks["ps1"] = IdleClock()
        after.idleness._saved_at = after.clock.now()
        await after.idleness.save()
        assert CLOCKS in after.notes, "what began anew since is compared with what was read"

    on(story)


SINCE, LAST = "2026-03-02T10:00:00+00:00", "2026-03-02T12:00:00+00:00"
KEPT = IdleClock(NOW - timedelta(hours=2), NOW, timedelta(seconds=60), timedelta(seconds=20))


@pytest.mark.parametrize(
    ("row", "clock"),
    [
        P([SINCE, LAST, 60.0, 20.0], KEPT, id="as it is written"),
        P([SINCE, LAST, 60.0], replace(KEPT, gap=timedelta(0)), id="by an older version"),
        P([SINCE, LAST, 60.0, 20.0, 7.0], KEPT, id="by a newer one"),
        P([None, LAST, 0.0, 0.0], IdleClock(None, NOW), id="in use"),
        P([None, None, 0.0, 0.0], IdleClock(), id="never read"),
        P(["soon", LAST, 0.0, 0.0], None, id="no date"),
        P([SINCE, "9999-01-01T00:00:00+00:00", 0.0, 0.0], None, id="a date that no clock comes near"),
        P([SINCE.removesuffix("+00:00"), LAST, 0.0, 0.0], None, id="of nobody knows which zone"),
        P([SINCE, LAST, "much", 0.0], None, id="no span"),
        P([SINCE, LAST, float("inf"), 0.0], None, id="a span without an end"),
        P([SINCE], None, id="a part of one"),
        P(7, None, id="none at all"),
    ],
)
def test_a_clock_that_cannot_be_read_begins_anew_and_is_said(row: Any, clock: IdleClock | None) -> None:
    async def story(world: World) -> None:
        world.notes[CLOCKS] = json.dumps({"ps1": row, "ps2": [SINCE, LAST, 60.0, 20.0]})
        with capture_logs() as logs:
            await world.idleness.load()
        assert world.idleness._clocks == ({} if clock is None else {"ps1": clock}) | {"ps2": KEPT}
        events = [(line["event"], line["machine"]) for line in logs]
        assert events == ([] if clock else [("idle_clocks.were_unreadable", "ps1")])
        assert all(line["error"].split()[0] in {"ValueError", "ValidationError", "OverflowError"} for line in logs)

    on(story)


@pytest.mark.parametrize("state", ["off", "starting", "stopping"])
def test_one_that_is_not_up_has_no_idle_time(state: str) -> None:
    async def story(world: World) -> None:
        reports = await world.passes(LONG_IDLE)
        assert set(reports) == {"ps1", "ps2"}
        world.idleness._restarts.update({"ps1": world.clock.now(), "ps2": world.clock.now()})
        kept = world.idleness._clocks["ps2"].idle_since
        reports = await world.passes(1, machine(1, state), machine(2))
        assert set(reports) == {"ps2"}
        assert world.idleness._clocks.keys() == world.idleness._read_at.keys() == {"ps2"}
        assert world.idleness._restarts.keys() == {"ps2"}
        assert world.idleness._clocks["ps2"].idle_since == kept
        reports = await world.passes(1)
        assert reports["ps1"].idle_since == world.clock.now()

    on(story)


@pytest.mark.parametrize("whose", ["ours", "another fleet's", "nobody's", "without a rule"])
def test_only_machines_of_fleets_with_an_idle_rule_are_asked_about(whose: str) -> None:
    async def story(world: World) -> None:
        owner = {"ours": "training", "another fleet's": "other", "without a rule": "bare"}.get(whose)
        owned = {} if owner is None else {"ps1": Owner(owner, adopted=False)}
        fleets = [fleet("bare"), WANT]
        reports = await world.idleness.refresh(fleets, [machine(1)], owned, [], interval=INTERVAL)
        assert set(reports) == ({"ps1"} if whose == "ours" else set())

    on(story)


@pytest.mark.parametrize("known", ["in the pass before", "by an earlier process"])
def test_a_hold_that_ended_since_the_last_round_was_use_while_it_lasted(known: str) -> None:
    async def story(world: World) -> None:
        await world.passes(LONG_IDLE)
        if known == "by an earlier process":
            world.idleness._refreshed_at = None
        ends = world.clock.now() + INTERVAL / 2
        world.holds = [Hold(1, "ps1", "hold", "x", "ada", ends - HALF_HOUR, ends)]
        reports = await world.passes(1)
        assert reports["ps1"].idle_since == ends
        assert reports["ps2"].idle_since is not None
        assert reports["ps2"].idle_since < ends
        await world.passes(1)
        assert world.idleness._clocks["ps1"].idle_since == ends

    on(story)


@pytest.mark.parametrize(
    ("hold", "state", "used"),
    [
        P({}, "off", True, id="a hold on one that is off"),
        P({}, "ready", False, id="one that is up has a clock"),
        P({"verbs": frozenset({Verb.START})}, "off", False, id="what a stop leaves behind"),
        P({"subject": "ps2"}, "off", False, id="on another"),
        P({"expires_at": timedelta(seconds=1)}, "off", False, id="not over yet"),
        P({"expires_at": timedelta(0)}, "off", True, id="over now"),
        P({"expires_at": -HALF_HOUR}, "off", False, id="over for as long as after"),
    ],
)
def test_a_hold_that_has_ended_on_a_machine_that_is_off_was_use(hold: dict[str, Any], state: str, used: bool) -> None:
    async def story(world: World) -> None:
        now = world.clock.now()
        ends = now + hold.get("expires_at", -timedelta(minutes=5))
        fields = {key: value for key, value in hold.items() if key != "expires_at"}
        one = Hold(1, fields.pop("subject", "ps1"), "hold", "x", "ada", now - HALF_HOUR, ends, **fields)
        world.holds = [one, *([replace(one, id=2, expires_at=ends - INTERVAL)] if used else [])]
        quick = fleet("quick", idle=replace(RULE, after=INTERVAL))
        found = await world.idleness.used([fleet("bare"), quick, WANT], [machine(1, state)])
        assert found == ({"ps1": ends} if used else {})
        assert await world.idleness.used([fleet("bare")], [machine(1, state)]) == {}
        lease = now + INTERVAL
        await world.leases.put("ps1", "job", lease, "ada", now=now)
        assert (await world.idleness.used([WANT], [machine(1, state)]))["ps1"] == lease

    on(story)


@pytest.mark.parametrize(("interval", "patience"), [(30, 30), (60, 60), (3600, 60)])
def test_a_round_takes_no_longer_than_an_interval_nor_a_minute(interval: int, patience: int) -> None:
    async def story(world: World) -> None:
        given: list[Any] = []

        async def ask(_rule: Any, machines: Any, _listed: Any, *, patience: Any) -> Any:
            given.append(patience)
            return {m.id: {} for m in machines}

        world.idleness._rounds.ask = ask  # type: ignore[method-assign]
        owned = {"ps1": Owner("training", adopted=False)}
        await world.idleness.refresh([WANT], [machine(1)], owned, [], interval=timedelta(seconds=interval))
        assert given == [timedelta(seconds=patience)]

    on(story)


@pytest.mark.parametrize(
    ("kept", "true", "anew"),
    [
        P(None, 5, False, id="nothing is written of it"),
        P(5, None, True, id="it is idle no more"),
        P(5, 6, True, id="idle since later"),
        P(5, 5, False, id="as it is written"),
        P(5, 4, False, id="idle for longer than is written"),
    ],
)
def test_what_is_written_of_an_idle_time_that_is_longer_than_what_is_true(
    kept: int | None, true: int | None, anew: bool
) -> None:
    async def story(world: World) -> None:
        def clock(minute: int | None) -> IdleClock:
            return IdleClock(None if minute is None else NOW + minute * INTERVAL, NOW)

        world.idleness._clocks["ps1"] = clock(true)
        assert world.idleness._began_anew("ps1", clock(kept)) is anew
        assert world.idleness._began_anew("ps2", clock(kept)) is (kept is not None), "it is not up any more"

    on(story)


class Learning(Asked):
    """One that learns of its machines, and remembers."""

    question = "gpu at 10.0.0.1"

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, int] = {}
        self.kept: list[set[str]] = []
        self.closed = 0

    def learnt(self) -> Mapping[str, int]:
        return self.known

    def remind(self, learnt: Mapping[str, int]) -> None:
        self.known = dict(learnt)

    def forget_others(self, machines: Any) -> None:
        self.kept.append(set(machines))

    async def aclose(self) -> None:
        self.closed += 1


def test_what_a_source_has_learnt_is_written_when_it_is_new_and_known_to_the_next_process() -> None:
    async def story(world: World) -> None:
        source = world.source = Learning()
        await world.idleness.aclose()
        await world.idleness.use({})
        source.known = {"ps2": 7, "ps1": 3}
        await world.passes(1, machine(1), machine(2), machine(3, "off"), machine(4, "starting"))
        assert source.kept == [{"ps1", "ps2", "ps4"}], "of those that are off nothing is remembered"
        await world.idleness.save(at_once=True)
        assert world.notes.pop(LEARNT)
        source.known = {"ps1": 3, "ps2": 7}
        await world.idleness.save(at_once=True)
        assert LEARNT not in world.notes, "as it was"
        source.known["ps1"] = 4
        await world.idleness.save(at_once=True)
        after = World()
        after.source, after.notes = Learning(), world.notes
        await after.idleness.load()
        await after.idleness.use({})
        assert after.source.known == {"ps1": 4, "ps2": 7}  # type: ignore[attr-defined]
        await world.idleness.aclose()
        assert source.closed == 1

    on(story)


@pytest.mark.parametrize(("minutes", "verdict"), [(1, Activity.IDLE), (3, Activity.IDLE), (4, Activity.UNKNOWN)])
def test_one_that_a_round_did_not_come_to_is_as_it_was_said_last_for_a_while(minutes: int, verdict: Activity) -> None:
    async def story(world: World) -> None:
        before = await world.passes(LONG_IDLE)

        async def ask(_rule: Any, machines: Any, _listed: Any, *, patience: Any) -> Any:
            return {m.id: {} for m in machines}

        world.idleness._rounds.ask = ask  # type: ignore[method-assign]
        await anyio.sleep((minutes - 1) * 60)
        found = await world.passes(1)
        assert found["ps1"].verdict == verdict
        assert (found["ps1"] == before["ps1"]) is (verdict is Activity.IDLE)

    on(story)


def test_who_is_silent_is_told_by_each_round() -> None:
    async def story(world: World) -> None:
        await world.passes(2)
        world.source.verdict = Activity.UNKNOWN
        reports = await world.passes(35)
        assert reports["ps1"].unknown_s == 34 * 60
        await world.passes(1, machine(1, "off"), machine(2))
        reports = await world.passes(1)
        assert reports["ps1"].unknown_s == 0, "it was off"
        assert reports["ps2"].unknown_s == 36 * 60

    with capture_logs() as logs:
        on(story)
    events = [line["event"] for line in logs]
    assert sorted(events) == ["idle_source.went_silent", "machine.went_silent", "machine.went_silent"]


@pytest.mark.parametrize(("minutes", "forbids"), [(5, True), (40, True), (59, True), (60, False)])
def test_a_start_that_no_pass_has_seen_counts_for_as_long_as_a_machine_stays_up_at_least(
    minutes: int, forbids: bool
) -> None:
    async def story(world: World) -> None:
        await world.passes(LONG_IDLE)
        began = world.clock.now() - timedelta(minutes=minutes)
        start = MachineEvent("start", "done", handle="h1", created_at=began, finished_at=began)
        want = fleet(idle=replace(RULE, min_uptime=timedelta(hours=1)))
        said = await world.word(Reason.OVER_TARGET, fleet=want, machine=machine(1, events=(start,)))
        assert said is (Reason.NOT_IDLE_LONG_ENOUGH if forbids else None)
        assert await world.word(Reason.OVER_TARGET, fleet=want, machine=machine(1, events=(start,))) is said
        await world.passes(int(HALF_HOUR / INTERVAL) + 1)
        again = await world.word(Reason.OVER_TARGET, fleet=want, machine=machine(1, events=(start,)))
        assert again is None, "one start begins it anew once"

    on(story)


def test_a_lease_that_ended_since_the_pass_begins_the_idle_time_anew() -> None:
    async def story(world: World) -> None:
        await world.passes(LONG_IDLE)
        await world.lease(timedelta(0))
        await anyio.sleep(1)
        assert await world.word(Reason.PARKED_IDLE) is Reason.NOT_IDLE_LONG_ENOUGH
        assert world.idleness._clocks["ps1"].idle_since is None

    on(story)


async def nobody(_rule: Any, machines: Any, _listed: Any, *, patience: Any) -> Any:
    """A round that comes to no machine."""
    return {m.id: {} for m in machines}


SAID = "gpu: {0}, {0}"
LEASED = "lease: active, leased by job (ada) until"
SINCE_THE_FIRST = LONG_IDLE * INTERVAL


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(
    ("source", "hold", "lease", "verdict", "since", "evidence"),
    [
        P("idle", None, None, "idle", SINCE_THE_FIRST, [SAID.format("idle")], id="idle"),
        P("active", None, None, "active", None, [SAID.format("active")], id="in use"),
        P("unknown", None, None, "unknown", None, [SAID.format("unknown")], id="nobody knows"),
        P(
            "idle",
            HALF_HOUR,
            None,
            "active",
            None,
            ["held, which counts as in use", SAID.format("idle")],
            id="held",
        ),
        P("unknown", HALF_HOUR, None, "unknown", None, [SAID.format("unknown")], id="held, and nobody knows"),
        P("idle", timedelta(0), None, "idle", timedelta(0), [SAID.format("idle")], id="a hold ends right now"),
        P("idle", -INTERVAL / 2, None, "idle", INTERVAL / 2, [SAID.format("idle")], id="it has ended"),
        P("idle", None, HALF_HOUR, "active", None, [SAID.format("idle"), LEASED], id="leased"),
        P("idle", None, timedelta(0), "idle", INTERVAL, [SAID.format("idle")], id="a lease that was ended"),
    ],
)
def test_what_a_round_makes_of_a_machine(
    source: str,
    hold: timedelta | None,
    lease: timedelta | None,
    verdict: str,
    since: timedelta | None,
    evidence: list[str],
    asked: bool,
) -> None:
    """``asked``: or else the round does not come to it, and it is as it was said last, but for holds and leases."""

    async def story(world: World) -> None:
        before = (await world.passes(LONG_IDLE))["ps1"]
        next_pass = world.clock.now() + INTERVAL
        if hold is not None:
            world.holds = [Hold(1, "ps1", "hold", "x", "ada", NOW - HALF_HOUR, next_pass + hold)]
        if lease is not None:
            await world.lease(lease)
        if not asked:
            world.idleness._rounds.ask = nobody  # type: ignore[method-assign]
        world.source.verdict = Activity(source)
        found = (await world.passes(1))["ps1"]
        used = lease == HALF_HOUR
        if not asked and not used and hold != HALF_HOUR:
            assert (found.verdict, found.at, found.evidence) == ("idle", before.at, before.evidence)
            assert found.idle_since == (
                before.idle_since if verdict != "idle" else next_pass - (since or INTERVAL * 0)
            )
            return
        if asked:
            assert found.evidence.startswith("; ".join(evidence))
            assert found.verdict == verdict
        else:
            assert found.verdict == ("active" if used else "unknown")
            assert found.evidence.startswith(LEASED if used else "")
        assert found.at == next_pass
        assert found.idle_since == (None if since is None else next_pass - since)

    on(story)


@pytest.mark.parametrize(("passes", "words"), [(0, "not asked yet"), (3, "not asked for too long: rounds are long")])
def test_why_nobody_knows_of_one_that_a_round_did_not_come_to(passes: int, words: str) -> None:
    async def story(world: World) -> None:
        await world.passes(passes)
        world.idleness._rounds.ask = nobody  # type: ignore[method-assign]
        await anyio.sleep(GAPS * INTERVAL.total_seconds())
        found = (await world.passes(1))["ps1"]
        assert (found.verdict, found.evidence, found.idle_since) == ("unknown", words, None)

    on(story)


@pytest.mark.parametrize("step", [0, 50, -30])
def test_time_that_only_the_wall_clock_says_went_by_is_not_covered(step: int) -> None:
    async def story(world: World) -> None:
        await world.passes(LONG_IDLE)
        before = world.idleness._clocks["ps1"]
        world.clock.step(step)
        await world.passes(1)
        found = world.idleness._clocks["ps1"]
        assert found.uncovered - before.uncovered == timedelta(seconds=max(0, step))

    on(story)


def test_holds_are_looked_for_since_the_oldest_reading_that_an_earlier_process_left() -> None:
    async def story(world: World) -> None:
        await world.passes(LONG_IDLE)
        now = world.clock.now()
        clocks = world.idleness._clocks
        clocks["ps1"] = replace(clocks["ps1"], last_at=now - timedelta(seconds=40))
        world.idleness._refreshed_at = None
        world.idleness._read_at.clear()
        ended = now - timedelta(seconds=20)
        world.holds = [Hold(1, "ps1", "hold", "x", "ada", NOW - HALF_HOUR, ended)]
        assert (await world.passes(1))["ps1"].idle_since == ended

    on(story)


@pytest.mark.parametrize(
    ("gpu", "verdict"),
    [(Activity.IDLE, "idle"), (Activity.UNKNOWN, "unknown"), (Activity.ACTIVE, "active")],
)
def test_one_answer_of_two_counts_unless_it_says_idle(gpu: Activity, verdict: str) -> None:
    """The other was not asked: what was said last stands, unless this one knows of use, or knows nothing."""

    async def story(world: World) -> None:
        both = fleet(idle=replace(RULE, sources=("gpu", "ssh")))
        said = {source: Reading(source, Activity.IDLE, NOW, "idle") for source in ("gpu", "ssh")}
        answers = [said, {"gpu": Reading("gpu", gpu, NOW, "now")}]

        async def ask(_rule: Any, machines: Any, _listed: Any, *, patience: Any) -> Any:
            answer = answers.pop(0)
            return {m.id: answer for m in machines}

        world.idleness._rounds.ask = ask  # type: ignore[method-assign]
        owned = {"ps1": Owner("training", adopted=False)}
        await world.idleness.refresh([both], [machine(1)], owned, [], interval=INTERVAL)
        await anyio.sleep(60)
        found = await world.idleness.refresh([both], [machine(1)], owned, [], interval=INTERVAL)
        assert found["ps1"].verdict == verdict

    on(story)


def test_one_that_was_held_at_first_has_nothing_that_was_said_last() -> None:
    async def story(world: World) -> None:
        ends = world.clock.now() + 1.5 * INTERVAL
        held = [Hold(1, "ps1", "hold", "x", "ada", NOW - HALF_HOUR, ends)]
        owned = {"ps1": Owner("training", adopted=False)}
        first = await world.idleness.refresh([WANT], [machine(1)], owned, held, interval=INTERVAL)
        assert first["ps1"].verdict == "active"
        world.idleness._rounds.ask = nobody  # type: ignore[method-assign]
        (found,) = [(await world.passes(2))["ps1"]]
        assert (found.verdict, found.evidence) == ("unknown", "not asked yet")

    on(story)
