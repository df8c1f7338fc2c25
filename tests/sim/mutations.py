"""Broken builds, at least one for each promise: a check that does not catch its own is worth nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fleetd.cloud.core.once import Once
from fleetd.cloud.http import HttpClient
from fleetd.config import reading
from fleetd.engine import daemon, reloading, rounds, vetoes
from fleetd.engine.clocks import Agreement
from fleetd.engine.executor import Executor
from fleetd.engine.gate import Gate
from fleetd.engine.leases import Leases
from fleetd.engine.observer import Observer
from fleetd.engine.poller import Poller
from fleetd.engine.preflight import Preflight
from fleetd.engine.prices import Prices
from fleetd.engine.setbacks import Setbacks
from fleetd.engine.settling import Settling
from fleetd.model import bounds, spans
from fleetd.model.fleet import Window
from fleetd.model.journal import Hold
from fleetd.planner import guards, idle, leaving, ownership, policies, roster, scaling, transitions, windows
from fleetd.simulator import faults as f
from fleetd.store.database import Database
from fleetd.store.lock import StateLock
from fleetd.store.sqlite import SqliteJournal
from tests.sim.mutation import FLEET, HOUR, Mutation, story
from tests.sim.spec import Beat

PARKING = Window("night", 13 * 60, 23 * 60, "UTC", park_idle=True)
"""Opens an hour after a story's start."""


def _at(hours: float, what: str, **more: Any) -> Beat:
    return Beat(hours * HOUR, what, more)


LOST = (f.ResetAfter(operation="create", nth=(2, 3)), f.Invisible(seconds=80))
"""Of six creates two are carried out and not answered, and nobody sees the machines for a while."""
DESTROYING = replace(FLEET, scale_in="destroy", allow_destroy=True, stops="100%")
PARKED = replace(FLEET, window=PARKING, idle_after=20, target=4)
CAPPED = replace(FLEET, target=3, stops="100%", cost_cap=1.6)
PARTIAL = (f.PartialList(share=0.6, after=0.5 * HOUR, until=1.2 * HOUR),)
WORK = {"count": 3, "for": 4 * HOUR, "starves": False}
SHRINKS = _at(1, "reload", fleets=(replace(FLEET, target=2),), **{"for": 1800.0})

MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        0,
        "one odd number of one machine is a fault in every pass",
        bounds._times,
        "max(-most, min(most, number)) if number == number else 0",
        "number",
        story(
            fleets=(replace(FLEET, timeout_hours=24),),
            rules=(
                f.OddValues(
                    operation=("list", "show"), field="shutdownTimeoutInHours", value="huge", share=0.3, until=HOUR
                ),
            ),
        ),
    ),
    Mutation(
        1,
        "any name that begins like a fleet is ours",
        ownership.owners,
        "split = split_name(machine.name, names)",
        'split = (machine.name.rpartition("-")[0],) if machine.name.rpartition("-")[0] in names else None',
        story(
            foreign=(("training-backup", "ready"), ("training-abcdef", "ready")), fleets=(replace(FLEET, target=1),)
        ),
    ),
    Mutation(
        0,
        "a fault inside a pass ends the process",
        daemon.Daemon._pass,
        "except* Exception as group:",
        "except* ZeroDivisionError as group:",
        story(_at(1, "trouble", times=1)),
    ),
    Mutation(
        1,
        "a plan goes on after its fleet left the config",
        Gate.objection,
        "if self._in_force(ticket.fleet.name) != ticket.fleet:",
        "if False:",
        story(
            _at(1, "reload", fleets=(replace(FLEET, target=1),), **{"for": 1800.0}),
            Beat(HOUR + 16, "reload", {"fleets": (replace(FLEET, name="other", target=1),), "for": 900.0}),
            rules=(f.SlowDrip(operation="show", seconds=20, after=HOUR, until=HOUR + 60),),
        ),
    ),
    Mutation(
        1,
        "a pattern of another fleetd takes what ours has made",
        ownership._Adoption.adopter,
        "if not self.patterns or made_for(machine.name) is not None:",
        "if not self.patterns:",
        story(_at(1, "other", target=0, **{"for": 0.7 * HOUR})),
    ),
    Mutation(
        2,
        "creates whose answer was lost do not count",
        roster.Roster.have,
        "+ len(self.creating)",
        "",
        story(rules=LOST, interval=30),
    ),
    Mutation(
        2,
        "lost creates are not waited for",
        Settling.settle,
        "self._looked_for(intent) >= settle and over",
        "True",
        story(rules=LOST, interval=30),
    ),
    Mutation(
        2,
        "a long listing that is read once leaves out what was made since",
        Once._read_once,
        "Reading(joined([*both[0], *both[1]]), failure=failure)",
        "Reading(rest, failure=failure)",
        story(
            _at(0.5, "kill", how="now", count=0, down=2),
            _at(1, "reload", fleets=(replace(FLEET, target=9),), **{"for": 2 * HOUR}),
            rules=(f.ResetAfter(operation="create", nth=(7, 8, 9)),),
            page_size=20,
            foreign=tuple((f"other-{n}", "ready") for n in range(40)),
        ),
    ),
    Mutation(
        2,
        "a price that was learnt is never learnt again",
        Prices.learn,
        "if rate is not None and rate != self._learnt.get(kind):",
        "if rate is not None and kind not in self._learnt:",
        story(
            _at(0.2, "price", machine_type="P4000", hourly="1.02"),
            _at(1.3, "reload", fleets=(CAPPED,), **{"for": 900.0}),
            fleets=(replace(CAPPED, target=1),),
        ),
    ),
    Mutation(
        3,
        "destroys without being allowed to",
        scaling.shrink,
        "draft.fleet.scale_in is ScaleIn.DESTROY and draft.fleet.allow_destroy\n",
        "draft.fleet.scale_in is ScaleIn.DESTROY\n",
        story(
            _at(1, "reload", fleets=(replace(DESTROYING, allow_destroy=False, target=2),), **{"for": 1800.0}),
            fleets=(replace(DESTROYING, allow_destroy=False),),
        ),
    ),
    Mutation(
        3,
        "destroys what is ours by its name alone",
        ownership.owners,
        "return None if claims.sure(machine, facts) or adoption.writes_out(machine) else why",
        "return None",
        story(
            _at(0.5, "journal", way="deleted", place=0, **{"for": 30}),
            _at(1, "reload", fleets=(replace(DESTROYING, target=2),), **{"for": 1800.0}),
            fleets=(DESTROYING,),
        ),
    ),
    Mutation(
        3,
        "destroys a whole fleet at once",
        guards.cut_counts,
        "guards.max_destroys_per_pass - under_way[Verb.DESTROY]",
        "99",
        story(_at(1, "reload", fleets=(replace(DESTROYING, target=2),), **{"for": 1800.0}), fleets=(DESTROYING,)),
    ),
    Mutation(
        3,
        "stops without a fresh look",
        Preflight._look,
        'fresh = await cloud.show(action.machine or "")',
        'fresh = {m.id: m for m in (await cloud.list_machines()).machines}[action.machine or ""]',
        story(SHRINKS),
    ),
    Mutation(
        3,
        "nobody compares the clocks",
        Agreement.told,
        "self._told = (theirs, anyio.current_time())",
        "pass",
        story(
            _at(0.9, "clock", by=26 * HOUR),
            _at(1, "reload", fleets=(replace(DESTROYING, target=2),), **{"for": 1800.0}),
            fleets=(DESTROYING,),
        ),
    ),
    Mutation(
        4,
        "believes a listing that show contradicts",
        Observer.observe,
        "if fault is not None:",
        "if False:",
        story(rules=PARTIAL),
    ),
    Mutation(
        4,
        "decides on old observations",
        guards.doubt_of,
        "if age > stale_after or age < -stale_after:",
        "if False:",
        story(
            SHRINKS,
            interval=10,
            rules=(f.SlowDrip(operation="list", seconds=28, after=0.9 * HOUR, until=1.4 * HOUR),),
        ),
    ),
    Mutation(
        5,
        "calls before the intent is on disk",
        SqliteJournal.write_intent,
        "number = await self._database.write(lambda db: db.execute(INTENTS.insert, row).lastrowid)",
        "number = await self._database.read(lambda db: 1 + len(row))",
        story(),
    ),
    Mutation(
        5,
        "repeats a create whose answer was lost",
        Executor._create_from,
        "except CloudError as error:",
        "except Ambiguous:\n"
        "            machine = await cloud.create(name, fleet.parameters)\n"
        "        except CloudError as error:",
        story(rules=LOST),
    ),
    Mutation(
        6,
        "a source that knows nothing says idle",
        idle.combine,
        "return Activity.UNKNOWN",
        "return Activity.IDLE",
        story(Beat(0.9 * HOUR, "silence", {"for": HOUR}), fleets=(PARKED,)),
    ),
    Mutation(
        6,
        "what was in use goes on being idle",
        idle.advance,
        "if verdict is Activity.ACTIVE:\n        return stopped",
        "if verdict is Activity.ACTIVE:\n        return IdleClock(clock.idle_since, now)",
        story(_at(0.8, "use", count=2, starves=False, **{"for": 900.0}), fleets=(PARKED,)),
    ),
    Mutation(
        6,
        "a lease that ended between two passes was no use",
        Leases.last_use,
        "return max(",
        "return None and max(",
        story(
            *(_at(0.2, "lease", count=250, **{"for": 2.0}, every=25.0) for _ in range(8)),
            fleets=(replace(PARKED, stops="100%"),),
            foreign=(),
        ),
    ),
    Mutation(
        6,
        "a source is believed about an address that two machines have",
        rounds.shared_names,
        "if other is not None:",
        "if False:",
        story(
            _at(0.1, "use", **WORK),
            *(_at(0.2, "address", **{"for": 3 * HOUR}) for _ in range(6)),
            fleets=(PARKED,),
            foreign=(),
        ),
    ),
    Mutation(
        6,
        "a gap is forgiven in one piece",
        idle.advance,
        "gap > max_gap * (FORGIVEN / GAPS) or ",
        "",
        story(
            _at(0.95, "use", count=4, starves=True, **{"for": 240.0}),
            fleets=(replace(PARKED, idle_after=60, target=2),),
            interval=30,
        ),
    ),
    Mutation(
        7,
        "holds and freezes forbid nothing",
        Hold.forbids,
        "if now >= self.expires_at or verb not in self.verbs:",
        "if True:",
        story(_at(0.5, "freeze_all", verbs=None, **{"for": HOUR}), SHRINKS),
    ),
    Mutation(
        7,
        "a freeze stops nothing that is in the queue already",
        Gate.objection,
        "if hold is not None:",
        "if False:",
        story(
            _at(1, "reload", fleets=(replace(FLEET, target=0, stops="100%"),), **{"for": 1800.0}),
            Beat(HOUR + 16, "freeze_all", {"verbs": None, "for": HOUR}),
            fleets=(replace(FLEET, target=14, stops="100%"),),
            rules=(f.SlowDrip(operation="show", seconds=14, after=HOUR, until=HOUR + 60),),
        ),
    ),
    Mutation(
        7,
        "a clock that is set ahead ends a freeze",
        Agreement.earliest,
        "return min(now, self.theirs(now))",
        "return now",
        story(_at(0.5, "freeze_all", verbs=None, **{"for": HOUR}), _at(0.7, "clock", by=2 * HOUR), SHRINKS),
    ),
    Mutation(
        7,
        "a freeze given by a clock that is behind ends when that is set right",
        Agreement.latest_at,
        "return max(now, now - _apart(self._ahead_of(self._told or self._meanwhile)))",
        "return now",
        story(
            _at(0.5, "clock", by=-2 * HOUR),
            _at(0.6, "freeze_all", verbs=None, **{"for": HOUR}),
            _at(0.7, "clock", by=2 * HOUR),
            SHRINKS,
        ),
    ),
    Mutation(
        13,
        "a window opens by a clock that is ahead",
        guards.agree_on,
        "if action.verb is Verb.UPDATE or action.reason is Reason.OPERATOR_REQUEST:",
        "if True:",
        story(_at(0.3, "clock", by=HOUR), fleets=(PARKED,)),
    ),
    Mutation(
        14,
        "a hold is on the word that was typed",
        vetoes.hold_of,
        "machine = found[0][0].id or None if found else None",
        "machine = None",
        story(
            *(_at(0.5, "held_rename", by="name", after=60, **{"for": HOUR}) for _ in range(4)),
            _at(1, "reload", fleets=(replace(FLEET, target=0, stops="100%"),), **{"for": 1800.0}),
        ),
    ),
    Mutation(
        14,
        "vetoes end with the process that took them",
        SqliteJournal.holds,
        '"WHERE expires_at > ? ORDER BY id", (instant_to_cell(now),)',
        '"WHERE expires_at > ? AND created_at >= ?",'
        '(instant_to_cell(now), self.__dict__.setdefault("born", instant_to_cell(now)))',
        story(
            _at(0.5, "freeze_all", verbs=None, **{"for": HOUR}), _at(0.8, "kill", how="now", count=0, down=2), SHRINKS
        ),
    ),
    Mutation(
        8,
        "the lock keeps nobody out",
        StateLock.__enter__,
        "self._directory = self._take(os.open(self.path.parent, os.O_RDONLY))\n"
        "        self._descriptor = self._acquire()",
        "self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT)",
        story(_at(1, "second")),
    ),
    Mutation(
        8,
        "nobody looks whether the state directory is still its own",
        Database.check,
        "self._guard()",
        "return",
        story(
            _at(0.5, "unlock", way="directory", **{"for": 1.4 * HOUR}), *(_at(h, "destroy") for h in (0.7, 1, 1.3))
        ),
    ),
    Mutation(
        9,
        "a config that cannot be swapped in is used all the same",
        reloading._refuse_unchangeable,
        "if changed:",
        "if False:",
        story(Beat(HOUR, "bad_reload", {"way": 4, "for": 1800.0})),
    ),
    Mutation(
        9,
        "a config with faults is used as far as it goes",
        reading.parse,
        "if config is None or faults:",
        "if config is None:",
        story(Beat(HOUR, "bad_reload", {"way": 5, "for": 1800.0})),
    ),
    Mutation(
        10,
        "errors quote the key",
        HttpClient._presentable,
        "return presentable(text, secrets=self._secrets())",
        "return text + self._key.key()",
        story(rules=(f.ErrorAnswer(operation="create", status=400, message="No", limit=1),)),
    ),
    Mutation(
        11,
        "gives up after a capacity failure",
        transitions.next_backoff,
        "return BACKOFF_STEPS[",
        "return 20 * BACKOFF_STEPS[",
        story(rules=(f.Capacity(until=2 * HOUR),)),
    ),
    Mutation(
        11,
        "never rests: mends what does not differ",
        policies._drift,
        "f[2] is not None and f[2] != f[3]",
        "f[2] is not None",
        story(fleets=(replace(FLEET, timeout_hours=1000),)),
    ),
    Mutation(
        11,
        "a machine that lingers while it is destroyed keeps its place",
        leaving.leaves,
        "return surely_leaves(machine) or",
        "return False and",
        story(_at(0.5, "slow_destroy", **{"for": None}), foreign=()),
    ),
    Mutation(
        12,
        "repeats at once what has no effect",
        Setbacks.add,
        "next_backoff(attempt) if attempt else timedelta(0)",
        "timedelta(0)",
        story(SHRINKS, rules=(f.NoEffect(operation="stop", until=2 * HOUR),)),
    ),
    Mutation(
        12,
        "waits beyond the deadline",
        Poller.wait_for,
        "max(left, 2 * self.poll.total_seconds())",
        "max(left, 2 * self.poll.total_seconds()) + 7200",
        story(rules=(f.Stuck(operation="create", seconds=5000, limit=2),)),
    ),
    Mutation(
        13,
        "starts while a window parks",
        windows.effective,
        "park_idle=window.park_idle",
        "park_idle=False",
        story(fleets=(replace(PARKED, window=replace(PARKING, start=11 * 60)),)),
    ),
    Mutation(
        13,
        "reads windows by UTC",
        spans._instant,
        "naive.replace(tzinfo=zone(name))",
        'naive.replace(tzinfo=zone("UTC"))',
        story(fleets=(replace(PARKED, window=replace(PARKING, timezone="America/New_York", start=60, end=16 * 60)),)),
    ),
)
