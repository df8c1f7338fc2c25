"""Broken builds, at least one for each promise: a check that does not catch its own is worth nothing.

A mutation replaces a piece of fleetd's source by another, in this process and for as long as the block lasts. Each
comes with the short story in which the promise hangs on that piece.
"""

from __future__ import annotations
import __future__ as future

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from fleetd.cloud.http import HttpClient
from fleetd.config import reading
from fleetd.engine import daemon
from fleetd.engine.approach import Approach
from fleetd.engine.executor import Executor
from fleetd.engine.gate import Gate
from fleetd.engine.observer import Observer
from fleetd.engine.poller import Poller
from fleetd.engine.reconciler import Reconciler
from fleetd.model.fleet import Window
from fleetd.model.journal import Hold
from fleetd.planner import guards, idle, ownership, policies, roster, scaling, transitions, windows
from fleetd.simulator import faults as f
from fleetd.store.lock import StateLock
from fleetd.store.sqlite import SqliteJournal
from tests.sim.spec import Beat, FleetSpec
from tests.sim.story import CALM, DAY, Story

HOUR = 3600.0
LENGTH = 2 * HOUR + CALM
FLEET = FleetSpec("training", target=6, stops="50%")
PARKING = Window("night", 13 * 60, 23 * 60, "UTC", park_idle=True)
"""Opens an hour after a story's start."""


def story(*beats: Beat, fleets: tuple[FleetSpec, ...] = (FLEET,), **fields: Any) -> Story:
    """A short story at noon, UTC."""
    fields.setdefault("rules", ())
    fields.setdefault("foreign", ())
    fields.setdefault("interval", 120)
    return Story(
        seed="mutation",
        machines=8,
        days=LENGTH / DAY,
        poll=15,
        page_size=None,
        vendor_timer=False,
        latency=(0.005, 0.02),
        fleets=fleets,
        beats=beats,
        epoch_offset=12 * HOUR,
        **fields,
    )


@dataclass(frozen=True)
class Mutation:
    """A broken build."""

    promise: int
    name: str
    piece: Any
    """The function, method or property that is broken."""
    old: str
    new: str
    story: Story = field(default_factory=story)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """With the piece replaced wherever it is known by name."""
        with rewritten(self.piece, self.old, self.new):
            yield


@contextmanager
def rewritten(piece: Any, old: str, new: str) -> Iterator[None]:
    """A function with a part of its source replaced; the part must be there."""
    function = piece.fget if isinstance(piece, property) else piece
    function = inspect.unwrap(getattr(function, "__func__", function))
    source = textwrap.dedent(inspect.getsource(function))
    assert old in source, f"{function.__qualname__} does not read {old!r} any more: mend the mutation"
    module = sys.modules[function.__module__]
    text = source.replace(old, new)
    code = compile(text, inspect.getfile(function), "exec", flags=future.annotations.compiler_flag, dont_inherit=True)
    made: dict[str, Any] = {}
    exec(code, module.__dict__, made)
    owner, _, name = function.__qualname__.rpartition(".")
    known_in = [getattr(module, owner)] if owner else [m for m in _modules() if getattr(m, name, None) is function]
    with ExitStack() as stack:
        for cached in [c for c in vars(module).values() if hasattr(c, "cache_clear")]:
            cached.cache_clear()
            stack.callback(cached.cache_clear)
        for place in known_in:
            stack.enter_context(mock.patch.object(place, name, made[name]))
        yield


def _modules() -> list[Any]:
    return [module for name, module in list(sys.modules.items()) if name.startswith("fleetd.")]


def _at(hours: float, what: str, **more: Any) -> Beat:
    return Beat(hours * HOUR, what, more)


LOST = (f.ResetAfter(operation="create", nth=(2, 3)), f.Invisible(seconds=80))
"""Of six creates two are carried out and not answered, and nobody sees the machines for a while."""
DESTROYING = replace(FLEET, scale_in="destroy", allow_destroy=True, stops="100%")
PARKED = replace(FLEET, window=PARKING, idle_after=20, target=4)
PARTIAL = (f.PartialList(share=0.6, after=0.5 * HOUR, until=1.2 * HOUR),)
SHRINKS = _at(1, "reload", fleets=(replace(FLEET, target=2),), **{"for": 1800.0})

MUTATIONS: tuple[Mutation, ...] = (
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
        Reconciler._settle,
        "observation.at >= intent.ambiguous_since + settle",
        "True",
        story(rules=LOST, interval=30),
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
        "destroys a whole fleet at once",
        guards.cut_counts,
        "guards.max_destroys_per_pass - under_way[Verb.DESTROY]",
        "99",
        story(_at(1, "reload", fleets=(replace(DESTROYING, target=2),), **{"for": 1800.0}), fleets=(DESTROYING,)),
    ),
    Mutation(
        3,
        "stops without a fresh look",
        Approach._look,
        'fresh = await cloud.show(action.machine or "")',
        'fresh = {m.id: m for m in (await cloud.list_machines()).machines}[action.machine or ""]',
        story(SHRINKS),
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
            fleets=(FLEET, replace(FLEET, name="other")),
            interval=20,
            rules=(f.SlowDrip(operation="create", seconds=25, until=0.5 * HOUR),),
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
        "except LookAgain:\n"
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
        "parks what has only just become idle",
        idle.may_park,
        "if now - report.idle_since < rule.after:",
        "if False:",
        story(_at(0.8, "use"), _at(0.8, "use"), fleets=(PARKED,)),
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
        StateLock._acquire,
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        story(_at(1, "second")),
    ),
    Mutation(
        9,
        "a config that cannot be swapped in is used all the same",
        daemon._refuse_unchangeable,
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
        windows._instant,
        "naive.replace(tzinfo=_zone(zone))",
        'naive.replace(tzinfo=_zone("UTC"))',
        story(fleets=(replace(PARKED, window=replace(PARKING, timezone="America/New_York", start=60, end=16 * 60)),)),
    ),
)
