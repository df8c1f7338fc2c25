"""What ``plan`` shows right before a pass is what that pass decides, whatever has happened since the last one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from msgspec import structs

from fleetd.engine import survey as surveying
from fleetd.engine.handle import EngineHandle
from fleetd.engine.idleness import Idleness
from fleetd.engine.leases import Leases
from fleetd.model.errors import Ambiguous, Busy, CloudError, RateLimited, Refused, Unavailable
from fleetd.model.fleet import AutoSnapshot, Fleet, Guards, IdleRule, Limit, ScaleIn, ShutdownTimeout, Window
from fleetd.model.in_mind import NOTHING, InMind
from fleetd.model.machine import SnapshotPolicy, SnapshotSight
from fleetd.model.plan import Listing, Plan
from fleetd.model.reasons import Activity
from fleetd.model.report import Report, decoded, encoded
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring.dry_run import assumed, idle_of
from tests.sim.mutation import rewritten
from tests.support.build import fleet, hold, token_name
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import Rig, rig
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_time import run_virtual

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SEEDS = (*range(24), 56, 59, 109, 124, 135, 165, 195)
"""The others once showed something else than was done."""
HARD_SEEDS = (*range(12), 16, 18, 20, 30, 78, 81)
STEPS, HARD_STEPS = 8, 16
TELLING = (
    ("checks", True, 8),
    ("snapshots", True, 16),
    ("refusals", True, 8),
    ("creates_wait", True, 78),
    ("reconfigured", True, 81),
    ("unanswered", True, 18),
    ("looked_at", False, 109),
    ("looked_at", False, 135),
    ("failing_since", True, 0),
    ("unidentified", True, 30),
    ("idle_clocks", True, 20),
)
"""A field of what is in mind, and a world, hard or not, that shows something else where it is not told."""
ELSEWHERE = {"config", "unjudged", "looked_for", "doubtful"}
"""Those that ``test_in_mind`` asks about."""
Done = Counter[tuple[str, str, str | None, str]]
Fault = Callable[[str], CloudError]
FAULTS: tuple[Fault, ...] = (
    lambda op: Refused("no such template", operation=op),
    lambda op: RateLimited("too many requests", operation=op, retry_after=200.0),
    lambda op: Busy("in transition", operation=op),
    lambda op: Unavailable("no route", operation=op),
    lambda op: lost(op, 300.0),
    lambda op: lost(op, None),
    lambda op: LostOnItsWay("lost", operation=op),
)
"""What a call ends with."""


class LostOnItsWay(Ambiguous):
    """It is not carried out; of the others that are ``Ambiguous`` the answer was lost."""


def without_an_id(entries: int, lacking: str | None) -> Callable[[Listing], Listing]:
    """A listing that lacks a machine, with so many entries whose id cannot be read."""
    return lambda listing: replace(
        listing, machines=tuple(m for m in listing.machines if m.id != lacking), unidentified=entries
    )


def lost(operation: str, retry_after: float | None) -> Ambiguous:
    error = Ambiguous("lost", operation=operation)
    error.retry_after = retry_after
    return error


@dataclass
class Drawn:
    """One drawn world. ``hard``: with what a daemon keeps in mind for a while, and not in its journal."""

    rig: Rig
    rng: random.Random
    source: ScriptedSource
    hard: bool
    faults: dict[str, Fault] = field(default_factory=dict)
    """By operation, what its calls end with."""

    def __post_init__(self) -> None:
        self.handle = EngineHandle(self.rig.daemon, self.rig.reconciler._idleness.leases, self.rig.clock)
        self.lost: list[str] = []
        self.rig.cloud.before = lambda op, _id: self._ends(op, after=False)
        self.rig.cloud.after = lambda op, _id: self._ends(op, after=True)

    def _ends(self, operation: str, *, after: bool) -> Exception | None:
        if after and self.lost == [operation]:
            self.lost.clear()
            return Ambiguous("lost", operation=operation)
        error = self.faults[operation](operation) if operation in self.faults else None
        return error if (type(error) is Ambiguous) is after else None

    async def befall(self) -> None:
        """One thing that happens between two passes."""
        if self.hard and self.rng.random() < 0.7:
            await self._befall_hard()
        else:
            await self._befall()

    async def _befall(self) -> None:
        rng, cloud, want = self.rng, self.rig.cloud, self.rig.reconciler.settings.fleets[0]
        here = sorted(cloud._machines)
        one = rng.choice(here) if here else None
        match rng.randrange(10):
            case 0 | 1 if one:
                cloud.human("stop", one)
            case 2 if one:
                cloud.remove(one)
            case 3 if one:
                cloud.set(one, name=f"renamed-{rng.randrange(1000)}")
            case 4 if one:
                kind, subject = rng.choice((("hold", one), ("freeze", want.name)))
                await self._veto(kind, subject, timedelta(minutes=rng.randrange(1, 60)))
            case 5:
                self._configure(target=rng.randrange(5))
            case 6:
                self._configure(auto_snapshot=AutoSnapshot("day", rng.randrange(5, 10)))
            case 7:
                cloud.add(token_name(rng.randrange(900), rng.choice(("training", "gone"))), machine_type="P4000")
            case 8 if one:
                cloud.set(one, snapshots=SnapshotPolicy(False, None, None))
            case _:  # the next call of a pass is carried out, and its answer lost
                self.lost = [rng.choice(("create", "start", "stop"))]

    async def _befall_hard(self) -> None:
        rng, cloud = self.rng, self.rig.cloud
        here = sorted(cloud._machines)
        one = rng.choice(here) if here else None
        match rng.randrange(11):
            case 0 | 1:  # until all is well again
                verb = rng.choice(("create", "create", "start", "stop", "destroy", "update"))
                self.faults[verb] = rng.choice(FAULTS)
            case 2 | 3 | 4:
                self._heal()
            case 5:
                self.faults["list"] = lambda op: Unavailable("no route", operation=op)
            case 6:
                cloud.vain[rng.choice(("create", "start", "stop", "update"))] = rng.choice(("silent", "error"))
            case 7:
                self.rig.daemon.reload()
            case 8 if one:
                until = self.rig.clock.now() + timedelta(minutes=rng.randrange(40))
                await self.rig.reconciler._idleness.leases.put(one, "job", until, "test", now=self.rig.clock.now())
            case 9:
                cloud.listing = rng.choice((without_an_id(0, one), without_an_id(1, None), without_an_id(1, one)))
            case 10:
                slow = rng.choice(("create", "update", "stop"))
                cloud.hangs = lambda op, _detail: 250.0 if op == slow else 0.0
            case _:
                cloud.no_capacity = True

    def _heal(self) -> None:
        cloud, now = self.rig.cloud, self.rig.clock.now()
        self.faults.clear()
        cloud.vain.clear()
        cloud.no_capacity = False
        cloud.listing, cloud.hangs = (lambda listing: listing), (lambda _op, _detail: 0.0)
        for machine in cloud._machines:
            made = now - timedelta(minutes=self.rng.randrange(120))
            cloud.snapshot_sights[machine] = SnapshotSight(machine, made)

    async def _veto(self, kind: str, subject: str | None, lasts: timedelta) -> None:
        now, machine = self.rig.clock.now(), subject if kind == "hold" else None
        veto = hold(
            subject, kind, reason="test", actor="test", expires_at=now + lasts, machine=machine, created_at=now
        )
        await self.rig.reconciler.vetoes.add(veto)

    def _configure(self, **fields: Any) -> None:
        first, *others = self.rig.reconciler.settings.fleets
        self.rig.configure(replace(first, **fields), *others)

    async def shown(self, unknown: str | None = None) -> Done | None:
        """As ``fleetd plan`` beside the daemon works it out: from its report, as it comes over the socket.

        None where the provider does not answer. ``unknown``: a field of ``InMind`` that is not told.
        """
        rig, settings = self.rig, self.rig.reconciler.settings
        told = decoded(encoded(self.handle.status()), Report)
        mind = assumed(told.in_mind, settings, None)
        if unknown is not None:
            mind = structs.replace(mind, **{unknown: getattr(NOTHING, unknown)})
        journal = await SqliteJournal.open_scratch(rig.journal._database.path, executor=InlineExecutor())
        idleness = Idleness(lambda _tables: {"gpu": self.source}, Leases(journal), journal, rig.clock)
        try:
            report = await surveying.survey(
                settings, rig.cloud, journal, rig.clock, idleness, idle=idle_of(told), mind=mind
            )
        except Unavailable:
            return None
        finally:
            await journal.aclose()
        return does(report.plan)

    async def done(self) -> Done | None:
        """What the daemon's next pass decides; None where the provider does not answer."""
        before = self.rig.reconciler.last
        await self.rig.daemon._pass()
        last = self.rig.reconciler.last
        return None if last is before or last is None else does(last.plan)


def drawn(rng: random.Random, name: str = "training") -> Fleet:
    destroys = rng.random() < 0.5
    window = Window("day", 12 * 60 + rng.randrange(60), 15 * 60, "UTC", park_idle=rng.random() < 0.5, target=1)
    return fleet(
        name,
        target=rng.randrange(2, 5),
        scale_in=ScaleIn.DESTROY if destroys else ScaleIn.STOP,
        allow_destroy=destroys,
        respect_manual=timedelta(minutes=rng.choice((0, 30))),
        windows=(window,) if rng.random() < 0.5 else (),
        idle=IdleRule(("gpu",), after=timedelta(minutes=20), min_uptime=timedelta(minutes=5)),
        auto_snapshot=AutoSnapshot("day", 7),
        guards=Guards(max_stops_per_pass=Limit(percent=50)),
    )


def drawn_hard(rng: random.Random, name: str = "training") -> Fleet:
    want = drawn(rng, name)
    rule = IdleRule(("gpu",), after=timedelta(minutes=rng.choice((1, 20))), min_uptime=timedelta(0))
    return replace(
        want,
        idle=rule if rng.random() < 0.6 else None,
        shutdown_timeout=ShutdownTimeout(1, enforce=True) if rng.random() < 0.5 else None,
        destroy_requires_snapshot=timedelta(hours=1) if want.allow_destroy and rng.random() < 0.6 else None,
    )


def does(plan: Plan) -> Done:
    """A create has a token of its own in each: they are counted."""
    return Counter((a.fleet, a.verb, a.machine, a.reason) for a in plan.actions)


async def differences(seed: int, *, hard: bool = False, unknown: str | None = None) -> tuple[list[str], int]:
    rng = random.Random(f"plan is the pass{', hard' if hard else ''}: {seed}")
    source = ScriptedSource(says=lambda m: Activity.ACTIVE if int(m.id[2:]) % 3 == 0 else Activity.IDLE)
    found: list[str] = []
    ended: list[int] = []
    acted = 0
    fleets = [drawn_hard(rng), drawn_hard(rng, "other")][: rng.randrange(1, 3)] if hard else [drawn(rng)]
    async with rig(*fleets, sources={"gpu": source}) as world, world.passes_by_hand():
        world.follower.on_end = lambda intent, _ending: ended.append(intent.id)
        story = Drawn(world, rng, source, hard)
        for step in range(HARD_STEPS if hard else STEPS):
            for _ in range(rng.randrange(3)):
                await story.befall()
            before = len(ended)
            said = await story.shown(unknown)
            done = await story.done()
            if len(ended) > before:  # a transition had its verdict in between: something has happened since
                said = done
            acted += done.total() if done is not None else 0
            if said != done:
                found.append(
                    f"seed {seed}, step {step}: only shown {_less(said, done)}, only done {_less(done, said)}"
                )
            await anyio.sleep(rng.choice((5, 20, 40, 120, 400) if hard else (20, 90, 400, 1500)))
    return found, acted


def _less(one: Done | None, other: Done | None) -> object:
    return one if one is None or other is None else one - other


@pytest.mark.parametrize(
    ("hard", "seed"), [*((False, seed) for seed in SEEDS), *((True, seed) for seed in HARD_SEEDS)]
)
def test_plan_shows_what_the_next_pass_does(seed: int, hard: bool) -> None:
    async def story() -> None:
        found, acted = await differences(seed, hard=hard)
        assert found == []
        assert acted, "nothing was decided: nothing was shown"

    run_virtual(story, start=START)


@pytest.mark.long
@pytest.mark.parametrize("hard", [False, True])
def test_plan_shows_what_the_next_pass_does_in_two_hundred_worlds(hard: bool) -> None:
    found: list[str] = []
    acted = 0

    async def story() -> None:
        nonlocal acted
        for seed in range(200):
            differ, actions = await differences(seed, hard=hard)
            found.extend(differ)
            acted += actions

    run_virtual(story, start=START)
    assert found == []
    assert acted > 1000


@pytest.mark.parametrize(("unknown", "hard", "seed"), TELLING)
def test_a_plan_that_is_not_told_one_thing_is_caught(unknown: str, hard: bool, seed: int) -> None:
    async def story() -> None:
        assert (await differences(seed, hard=hard, unknown=unknown))[0]

    run_virtual(story, start=START)


def test_all_that_is_told_matters() -> None:
    assert {unknown for unknown, _, _ in TELLING} | ELSEWHERE == set(InMind.__struct_fields__)


def test_a_plan_that_remembers_nothing_is_caught() -> None:
    async def story() -> None:
        with rewritten(surveying.survey, "await look.load()", "pass"):
            assert any([(await differences(seed))[0] for seed in range(3)])

    run_virtual(story, start=START)
