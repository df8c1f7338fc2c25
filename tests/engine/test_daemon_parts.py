"""The daemon with parts that note what they are told: when passes begin, what a failed one does, how it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from fleetd import __version__
from fleetd.engine.daemon import GRACE, HEARTBEAT, LONGEST_GAP, WAKE_GAP, Daemon
from fleetd.engine.health import Health
from fleetd.model.errors import (
    CloudError,
    ConfigError,
    Fault,
    FleetdError,
    RateLimited,
    StoreError,
    Unauthorized,
    Unavailable,
)
from fleetd.model.fleet import Window
from fleetd.model.journal import HistoryEntry
from fleetd.model.plan import Check
from fleetd.model.reasons import Outcome, Verb
from fleetd.model.settings import Schedules, Settings
from fleetd.planner.transitions import Ending
from fleetd.planner.windows import next_edge
from tests.support.build import fleet, intent
from tests.support.rig import settings
from tests.support.virtual_time import VirtualClock, virtual, virtual_clock

P = pytest.param


def report(*, goes_on: bool = False, intents: int = 0, doubt: str | None = None, **views: Any) -> Any:
    return SimpleNamespace(
        observation=SimpleNamespace(doubt=doubt), goes_on=goes_on, intents=(1,) * intents,
        plan=SimpleNamespace(fleets={name: SimpleNamespace(up=up, target=of) for name, (up, of) in views.items()}),
    )  # fmt: skip


class World:
    """Every part of a daemon; ``script``: how each pass ends, the last for ever."""

    def __init__(self, *script: Any, interval: float = 30, **options: Any) -> None:
        self.script = list(script) or [report()]
        self.settings = options.pop("settings", None) or settings(interval=interval)
        self.clock: VirtualClock = virtual_clock()
        self.began = anyio.current_time()
        self.told: list[Any] = []
        self.at: list[float] = []
        """When each pass began."""
        self.entries: list[HistoryEntry] = []
        self.shown: list[Any] = []
        self.doubts: list[datetime] = []
        self.fails: dict[str, Exception] = {}
        self.lasts = options.pop("lasts", 0.0)
        self.drawn = options.pop("drawn", 1.0)
        """The share of the interval that each wait is drawn."""
        self.new: Any = self.settings
        self.others = False
        nothing = self._notes
        beside = SimpleNamespace(attach=nothing("beside"), drain=self._later("drain"))
        journal = SimpleNamespace(append_history=self.append_history)
        self.reconciler: Any = SimpleNamespace(
            settings=self.settings, load=self._later("load"), aclose=self._later("aclose"), run_pass=self.run_pass,
            executor=SimpleNamespace(beside=beside, gate=SimpleNamespace(close=nothing("gate closed"))),
            recall=SimpleNamespace(
                journal=journal,
                forget_refusals=nothing("forget refusals"),
                orders=SimpleNamespace(withdraw=self.withdraw),
            ),
            checks=SimpleNamespace(rung=lambda check: self.told.append(("rung", check))),
            health=Health(), looks_cheaply=options.pop("cheap", False), undecided=options.pop("undecided", False),
            doubt=self.doubts.append,
        )  # fmt: skip
        self.follower: Any = SimpleNamespace(attach=nothing("follower"), with_others=lambda _intent: self.others)
        poller: Any = SimpleNamespace(run=self._poll)
        me: Any = self
        self.rng: Any = SimpleNamespace(uniform=self._uniform)
        self.daemon = Daemon(
            self.reconciler, poller, self.follower, me, me, self.clock, self.rng, me, me,
            load=self._load, on_pass=self._saw,
        )  # fmt: skip

    def _notes(self, word: str) -> Callable[..., None]:
        return lambda *_args: self.told.append(word)

    def _later(self, word: str) -> Callable[..., Awaitable[None]]:
        async def note() -> None:
            await anyio.lowlevel.checkpoint()
            self.told.append(word)

        return note

    def withdraw(self, *, taken: bool) -> None:
        self.told.append(("withdrawn", taken))

    async def _poll(self) -> None:
        self.told.append("poller")
        await anyio.sleep_forever()

    def _uniform(self, least: float, most: float) -> float:
        assert (least, most) == (0.9, 1.1)
        return self.drawn

    def _load(self) -> Settings:
        if isinstance(self.new, Exception):
            raise self.new
        return self.new  # type: ignore[no-any-return]

    def _saw(self, result: Any) -> None:
        self.shown.append(result)
        if "on_pass" in self.fails:
            raise self.fails["on_pass"]

    async def run_pass(self) -> Any:
        self.at.append(round(anyio.current_time() - self.began, 3))
        ends = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        await anyio.sleep(self.lasts)
        if isinstance(ends, Exception):
            raise ends
        return ends

    async def append_history(self, entry: HistoryEntry) -> None:
        await anyio.lowlevel.checkpoint()
        self.entries.append(entry)
        self.told.append("history")

    # Notifier, Meter, Alarms and Faults
    def ready(self) -> None:
        self.told.append("ready")

    def alive(self) -> None:
        self.told.append("alive")

    def status(self, text: str) -> None:
        self.told.append(("status", text))

    def reloading(self) -> None:
        self.told.append("reloading")

    def stopping(self) -> None:
        self.told.append("stopping")

    def reload(self, *, ok: bool) -> None:
        self.told.append(("reload", ok))

    def start(self, ring: Callable[[str], None]) -> None:
        self.ring = ring
        self.told.append("alarms")

    def stop(self) -> None:
        self.told.append("no alarms")

    def schedule(self, checks: Mapping[str, str]) -> None:
        self.told.append(("schedule", dict(checks)))
        if "schedule" in self.fails:
            raise self.fails["schedule"]

    def edge(self, at: datetime | None) -> None:
        self.told.append(("edge", at))
        if "edge" in self.fails:
            raise self.fails["edge"]

    def saw(self, where: str, error: BaseException) -> str:
        self.told.append(("saw", where))
        return f"{where} is odd"

    def said(self, word: str) -> list[Any]:
        return [row[1] for row in self.told if row[0] == word]

    async def runs(self, seconds: float, *steps: tuple[float, Callable[[], Any]]) -> list[dict[str, Any]]:
        """Run for so long, and do each step at its second; then stop. What it logs."""
        with capture_logs() as logs:
            async with anyio.create_task_group() as group:
                group.start_soon(self.daemon.run)
                for at, step in steps:
                    await anyio.sleep(at - (anyio.current_time() - self.began))
                    step()
                await anyio.sleep(seconds - (anyio.current_time() - self.began))
                self.daemon.stop()
                self.stopped_at = anyio.current_time()
            self.took = anyio.current_time() - self.stopped_at
        return [dict(line) for line in logs]


@virtual
async def test_what_is_told_of_a_daemon_that_has_not_begun() -> None:
    daemon = World().daemon
    assert (daemon.started_at, daemon.pass_began_at, daemon.config_since) == (None, None, None)
    assert (daemon.last_error, daemon.pause, daemon.left_alone_until) == (None, 0.0, None)
    assert daemon.stopping_since is None


WANTED = {"shutdown_timeout_check": Schedules().shutdown_timeout_check, "snapshot_check": Schedules().snapshot_check}


@virtual
async def test_the_life_of_a_daemon() -> None:
    world = World()
    logs = await world.runs(1)
    assert world.told == [
        "load", "follower", "beside", "alarms", ("schedule", WANTED), "poller", "history", ("status", ""), "ready",
        "alive", ("edge", None), "gate closed", ("withdrawn", False), "stopping", "alive", "drain", "no alarms",
        "history", "aclose",
    ]  # fmt: skip
    first, last = world.entries
    assert (first.verb, first.reason, first.name, first.evidence) == ("daemon", "started", "fleetd run", __version__)
    assert (last.verb, last.reason) == ("daemon", "stopped")
    assert logs == [
        {
            "event": "daemon.started", "log_level": "info", "config": "test.toml", "fleets": 1,
            "provider": "paperspace-core",
        },
        {"event": "daemon.stop_requested", "log_level": "info"},
        {"event": "daemon.stopped", "log_level": "info"},
    ]  # fmt: skip
    assert world.daemon.stopping_since is not None
    assert abs(world.daemon.stopping_since - world.clock.now()) < timedelta(milliseconds=100)
    began = world.clock.now() - timedelta(seconds=1)
    for told in (world.daemon.started_at, world.daemon.config_since, world.daemon.pass_began_at):
        assert told is not None
        assert abs(told - began) < timedelta(milliseconds=10)
    assert world.took < 0.1


@pytest.mark.parametrize(
    ("script", "interval", "wakes", "at"),
    [
        P([report()], 30, [], [0, 30, 60, 90], id="each interval"),
        P([report()], 30, [10], [0, 10 + 30 * WAKE_GAP, 41.5, 71.5], id="a wake-up"),
        P([report()], 30, [10, 10.5, 11], [0, 11.5, 41.5, 71.5], id="several that come together"),
        P([report()], 1000, [10], [0, 10 + LONGEST_GAP], id="after five seconds at most"),
        P([report()], 10, [4], [0, *(4.5 + 10 * n for n in range(10))], id="or after half a second"),
        P([report(goes_on=True), report()], 30, [], [0, 0, 30, 60, 90], id="something is left to the next"),
        P([report(), report(goes_on=True), report()], 30, [], [0, 30, 30, 60, 90], id="and that once"),
        P(
            [RateLimited("x", retry_after=50), report()],
            30,
            [10],
            [0, 51.5, 81.5],
            id="left alone, whatever wakes it",
        ),
        P([RateLimited("x", retry_after=50), report()], 30, [], [0, 50, 80], id="left alone for longer"),
        P([RateLimited("x", retry_after=20), report()], 30, [], [0, 30, 60, 90], id="or for less"),
        P([report(goes_on=True), RateLimited("x", retry_after=20), report()], 30, [], [0, 0, 30, 60, 90], id="first"),
        P([ValueError("x"), ValueError("x"), report()], 30, [], [0, 30, 90], id="passes that meet faults grow apart"),
        P([ValueError("x"), report(), ValueError("x"), report()], 30, [], [0, 30, 60, 90], id="in a row"),
        P([Unavailable("x"), report()], 30, [10], [0, 11.5, 41.5, 71.5], id="an outage shortens nothing"),
    ],
)
@virtual
async def test_when_passes_begin(script: list[Any], interval: float, wakes: list[float], at: list[float]) -> None:
    world = World(*script, interval=interval)
    await world.runs(99, *[(second, world.daemon.wake) for second in wakes])
    assert world.at == pytest.approx(at, abs=0.01)
    beats = world.told.count("alive")
    assert 99 / HEARTBEAT <= beats <= 99 / HEARTBEAT + 3 * len(at) + 3, "signs of life while it waits on purpose"
    assert world.told.count("ready") == 1


@virtual
async def test_a_longer_draw_is_a_longer_wait() -> None:
    world = World(drawn=1.1)
    await world.runs(99)
    assert world.at == pytest.approx([0, 33, 66], abs=0.01)


ODD: Any = ValueError("odd")
DOWN, KEY = Unavailable("no route", operation="list"), Unauthorized("no such key", operation="list")
SLOW = RateLimited("slow down", operation="list", retry_after=40.0004)
FULL = StoreError("disk full")
WORDS = "a fault in fleetd ended the pass: pass is odd"


@pytest.mark.parametrize(
    ("ends", "error", "events", "entries"),
    [
        P(DOWN, str(DOWN), ["provider.unavailable"], ["unavailable"], id="no answer"),
        P(ExceptionGroup("x", [DOWN, KEY]), str(DOWN), ["provider.unavailable"], ["unavailable"], id="a group"),
        P(
            ExceptionGroup("x", [ExceptionGroup("y", [KEY])]),
            str(KEY),
            ["provider.key_refused"],
            ["key_refused"],
            id="a group in a group",
        ),
        P(SLOW, str(SLOW), ["provider.unavailable", "provider.said_wait"], ["unavailable"], id="left alone"),
        P(FULL, "disk full", ["journal.failed"], [], id="no journal"),
        P(ExceptionGroup("x", [FULL]), "disk full", ["journal.failed"], [], id="no journal, in a group"),
        P(ODD, WORDS, [], [], id="a fault"),
        P(ExceptionGroup("x", [ODD]), WORDS, [], [], id="a fault in a group"),
    ],
)
@virtual
async def test_a_pass_that_fails(ends: Exception, error: str, events: list[str], entries: list[str]) -> None:
    world = World(ends, lasts=2.0)
    began = world.clock.now()
    logs = await world.runs(5)
    assert world.daemon.last_error == error
    assert [line["event"] for line in logs[1:-2]] == events
    assert [e.reason for e in world.entries[1:-1]] == entries
    assert all(e.error == error for e in world.entries[1:-1])
    (shown,) = world.shown
    assert isinstance(shown, FleetdError)
    assert str(shown) == error
    assert [abs(at - began) < timedelta(milliseconds=10) for at in world.doubts] == [True], "since it began"
    assert world.said("saw") == ["pass"] * (error == WORDS)
    assert world.said("status") == []
    assert (world.reconciler.health.last_error is None) is not isinstance(shown, CloudError)
    if "provider.said_wait" in events:
        until = world.daemon.left_alone_until
        assert until is not None
        assert abs(until - began - timedelta(seconds=42)) < timedelta(milliseconds=10)
        assert logs[2] == {
            "event": "provider.said_wait", "log_level": "warning", "until": until.isoformat(), "retry_after_s": 40.0,
        }  # fmt: skip
        assert world.daemon.pause == 40.0004
    else:
        assert (world.daemon.left_alone_until, world.daemon.pause) == (None, 30.0 if error == WORDS else 0.0)
    if "journal.failed" in events:
        assert logs[1] == {"event": "journal.failed", "log_level": "error", "error": "disk full"}


@virtual
async def test_a_pass_that_ends_well_after_one_that_failed() -> None:
    good = report(doubt="it shrank", a=(1, 2), b=(3, 3), intents=2)
    world = World(SLOW, good)
    logs = await world.runs(60)
    daemon = world.daemon
    assert (daemon.last_error, daemon.pause, daemon.left_alone_until) == (None, 0.0, None)
    assert [line["event"] for line in logs if line["event"] == "provider.recovered"] == ["provider.recovered"]
    told = [(e.verb, e.reason, e.error) for e in world.entries[1:-1]]
    assert told == [
        ("provider", "unavailable", str(SLOW)), ("provider", "recovered", None),
        ("listing", "not_believed", "it shrank"),
    ]  # fmt: skip
    assert world.said("status") == ["a 1/2, b 3/3, 2 under way"]
    assert world.shown[-1] is good
    assert world.reconciler.health.word == "ok"


@virtual
async def test_what_cannot_be_shown_or_scheduled_ends_nothing() -> None:
    world = World()
    world.fails = dict.fromkeys(("on_pass", "schedule", "edge"), ODD)
    await world.runs(40)
    assert world.said("saw") == ["alarms", "status", "alarms", "status", "alarms"]
    assert (len(world.at), world.daemon.last_error) == (2, None)


@virtual
async def test_the_next_edge_of_a_window_is_asked_for_after_each_pass() -> None:
    nights = fleet(windows=(Window("nights", 20 * 60, 4 * 60, "UTC", target=0),))
    world = World(settings=settings(nights))
    await world.runs(40)
    edge = next_edge([nights], world.clock.now())
    assert edge is not None
    assert world.said("edge") == [edge, edge]


CREATED, STOPPED = intent(Verb.CREATE, 1), intent(Verb.STOP, 1)


@pytest.mark.parametrize(
    ("one", "outcome", "others", "cheap", "wakes"),
    [
        P(CREATED, Outcome.REACHED, True, False, False, id="one of several that come up"),
        P(intent(Verb.START, 1), Outcome.REACHED, True, False, False, id="one of several starts"),
        P(CREATED, Outcome.REACHED, False, False, True, id="the last"),
        P(CREATED, Outcome.REACHED, True, True, True, id="a look costs little"),
        P(CREATED, Outcome.TIMED_OUT, True, False, True, id="it did not come up"),
        P(STOPPED, Outcome.REACHED, True, False, True, id="one that goes down"),
    ],
)
@virtual
async def test_a_transition_that_ends(one: Any, outcome: Outcome, others: bool, cheap: bool, wakes: bool) -> None:
    world = World(cheap=cheap)
    world.others = others
    assert world.follower.on_end == world.daemon.transition_ended
    await world.runs(29, (10, lambda: world.daemon.transition_ended(one, Ending(outcome))))
    assert world.at == ([0, 11.5] if wakes else [0])


@pytest.mark.parametrize(("name", "rung"), [*((str(c), [c]) for c in Check), ("window_edge", [])])
@virtual
async def test_what_rings(name: str, rung: list[Check]) -> None:
    world = World()
    await world.runs(29, (10, lambda: world.ring(name)))
    assert (world.said("rung"), world.at) == (rung, [0, 11.5])


@virtual
async def test_a_reload() -> None:
    world = World()
    every = Schedules(snapshot_check="every 5m")
    world.new = replace(world.settings, fleets=(fleet("b"), fleet("a")), schedules=every, source="new.toml")
    again = replace(world.new, fleets=(fleet("b"),))

    def reloads(new: Settings) -> Callable[[], None]:
        def reload() -> None:
            world.new = new
            world.daemon.reload()

        return reload

    logs = await world.runs(29, (10, reloads(world.new)), (20, reloads(again)))
    assert world.reconciler.settings is again
    assert world.said("schedule") == [WANTED, {"snapshot_check": "every 5m"}, {}]
    assert world.at == pytest.approx([0, 11.5, 21.5])
    assert [line for line in logs if line["event"] == "config.reloaded"] == [
        {"event": "config.reloaded", "log_level": "info", "config": "new.toml", "fleets": n, "released": released}
        for n, released in ((2, ["training"]), (1, ["a"]))
    ]
    assert world.told.count("forget refusals") == 2
    assert {e.reason for e in world.entries if e.verb == "config"} == {"reloaded"}
    assert world.daemon.config_since is not None
    assert abs(world.clock.now() - world.daemon.config_since - timedelta(seconds=9)) < timedelta(milliseconds=50)


@virtual
async def test_a_reload_that_changes_nothing_releases_nobody() -> None:
    world = World()
    logs = await world.runs(29, (10, world.daemon.reload))
    (line,) = [line for line in logs if line["event"] == "config.reloaded"]
    assert line["released"] is None
    (entry,) = [e for e in world.entries if e.verb == "config"]
    assert (entry.reason, entry.evidence) == ("reloaded", "nothing is different")


@virtual
async def test_a_reload_that_is_rejected() -> None:
    world = World()
    faults = tuple(Fault(f"fleets.a.x{n}", f"wrong {n}") for n in range(4))
    world.new = ConfigError("new.toml", faults)

    def reload() -> None:
        with pytest.raises(ConfigError):
            world.daemon.reload()

    await world.runs(40, (10, reload))
    assert world.reconciler.settings is world.settings
    assert world.at == [0, 30]
    (entry,) = [e for e in world.entries if e.verb == "config"]
    assert (entry.reason, entry.error) == ("rejected", "; ".join(str(fault) for fault in faults[:3]))
    assert (world.said("schedule"), world.told.count("forget refusals")) == ([WANTED], 0)
    assert world.daemon.config_since == world.daemon.started_at


@pytest.mark.parametrize(("by", "set_to"), [(3600.0, True), (-3600.0, True), (10.0, False)])
@virtual
async def test_a_clock_that_is_set(by: float, set_to: bool) -> None:
    world = World()
    logs = await world.runs(70, (10, lambda: world.clock.step(by)))
    line = {"event": "clock.was_set", "log_level": "warning", "by_s": round(by)}
    assert [each for each in logs if each["event"] == "clock.was_set"] == [line] * set_to
    assert world.said("rung") == list(Check) * set_to
    assert world.said("schedule") == [WANTED] * (1 + set_to)


@pytest.mark.parametrize(
    ("undecided", "abandons", "took"),
    [
        P(False, False, 6, id="it ends the pass"),
        P(True, False, 0, id="one that has called nothing yet is not waited for"),
        P(False, True, 0, id="abandoned"),
    ],
)
@virtual
async def test_a_stop_within_a_pass(undecided: bool, abandons: bool, took: float) -> None:
    world = World(lasts=10.0, undecided=undecided)
    logs = await world.runs(4, *[(4.0, world.daemon.abandon)] * abandons)
    assert world.took == pytest.approx(took, abs=0.01)
    assert (world.told.count("gate closed"), world.told.count("stopping")) == (1, 1), "once, however often"
    assert [row for row in world.told if row[0] == "withdrawn"] == [("withdrawn", undecided)]
    assert [line["event"] for line in logs][1:] == ["daemon.stop_requested", "daemon.stopped"]
    assert [row for row in world.told if row != "history"][-2:] == ["no alarms", "aclose"]
    assert [e.reason for e in world.entries] == ["started", "stopped"]
    assert ("drain" in world.told) is (took > 0)


@virtual
async def test_a_pass_that_does_not_end_is_cut_off_in_time() -> None:
    world = World(lasts=1000.0)
    logs = await world.runs(4)
    assert world.took == pytest.approx(GRACE, abs=0.01)
    assert logs[-2] == {"event": "daemon.grace_expired", "log_level": "warning", "grace_s": GRACE}
    assert world.entries[-1].reason == "stopped"


@virtual
async def test_a_daemon_that_is_cancelled_leaves_everything_written() -> None:
    world = World()
    async with anyio.create_task_group() as group:
        group.start_soon(world.daemon.run)
        await anyio.sleep(1)
        names = {task.name for task in anyio.get_running_tasks()}
        assert {"poller", "shutdown"} <= names, "as they are told of one that hangs"
        group.cancel_scope.cancel()
    assert [e.reason for e in world.entries] == ["started", "stopped"]
    assert world.told[-1] == "aclose"


@virtual
async def test_it_can_be_told_to_end_before_it_runs() -> None:
    for ends in ("stop", "abandon"):
        world = World(undecided=True)
        getattr(world.daemon, ends)()
        await world.daemon.run()
        assert world.at == []
        assert "aclose" in world.told


@pytest.mark.parametrize("ends", ["while it is left alone", "in the gap after a wake-up", "while it waits"])
@virtual
async def test_a_stop_ends_every_wait_at_once(ends: str) -> None:
    world = World(SLOW if ends == "while it is left alone" else report(), interval=1000)
    await world.runs(12, *[(10.0, world.daemon.wake)] * (ends == "in the gap after a wake-up"))
    assert (world.at, world.took) == ([0], pytest.approx(0, abs=0.01))
