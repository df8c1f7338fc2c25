"""What befalls a run: storms of the provider's faults, and what people, hosts and clocks do on an ordinary day."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fleetd.simulator import faults as f
from tests.sim.spec import Beat, FleetSpec

HOUR = 3600.0


def draw_storm(
    rng: random.Random, first: float, last: float, fleets: Sequence[FleetSpec]
) -> tuple[list[f.Rule], list[Beat]]:
    """Some faults of the provider's, alone or together, and what makes the daemon act just then."""
    began = rng.uniform(first, max(first, last - 600))
    lasts = min(rng.choice((300, 900, 2400, 5400)) * rng.uniform(0.5, 1.0), last - began)
    rules = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        after = began + rng.choice((0.0, 0.0, rng.uniform(0, lasts / 2)))
        span = {"after": round(after, 3), "until": round(began + lasts, 3)}
        rules.append(rng.choice(_DRAWS)(rng, span))

    def at() -> float:
        return round(began + rng.uniform(0, 0.7 * lasts), 3)

    beats = []
    for _ in range(rng.randrange(1, 4)):
        match rng.choice(("reload", "reload", "reload", "stop", "destroy", "start", "order", "kill", "kill")):
            case "reload":
                more = {"fleets": _changed(rng, fleets), "for": round(rng.uniform(0.2, 1.0) * lasts)}
                beats.append(Beat(at(), "reload", more))
            case "kill":
                beats.append(Beat(at(), "kill", {"how": "point", "count": rng.randrange(0, 60), "down": 2}))
            case person:
                beats += [Beat(at(), person) for _ in range(rng.choice((1, 3)))]
    return rules, beats


def _writes(rng: random.Random) -> Any:
    return rng.choice(("write", "create", "start", "stop", "destroy", ("create", "start"), "any"))


def _chance(rng: random.Random) -> float:
    return rng.choice((0.1, 0.3, 0.6, 1.0))


def _no_effect(rng: random.Random, span: dict[str, Any]) -> f.Rule:
    return f.NoEffect(
        operation=rng.choice(("stop", "start", "restart", "destroy", "update", "create", ("start", "stop"))),
        event=rng.choice(("done", "error", "error", "in progress", "none")),
        message=rng.choice((None, "Something went wrong.")),
        probability=_chance(rng),
        **span,
    )


def _odd(rng: random.Random, span: dict[str, Any]) -> f.Rule:
    """Odd values in any field, of few machines or of many."""
    return f.OddValues(field=rng.choice((None, None, *_FIELDS)), share=rng.choice((0.05, 0.2, 0.6)), **span)


_FIELDS = ("id", "name", "state", "shutdownTimeoutInHours", "autoShutdownTimeout", "dtCreated", "privateIpAddress")

_Draw = Callable[[random.Random, dict[str, Any]], f.Rule]
_DRAWS: tuple[_Draw, ...] = (
    lambda r, t: f.ErrorAnswer(operation=_writes(r), probability=_chance(r), executed=r.random() < 0.5, **t),
    lambda r, t: f.ErrorAnswer(operation="read", status=r.choice((500, 502, 503)), probability=_chance(r), **t),
    lambda r, t: f.ErrorAnswer(
        operation=r.choice(("create", "start", "update")), status=400, message="Quota exceeded", **t
    ),
    lambda r, t: f.RateLimit(operation="any", probability=_chance(r), retry_after=r.choice((None, 1, 20)), **t),
    lambda r, t: f.Unavailable(operation="any", probability=_chance(r), retry_after=r.choice((None, 2)), **t),
    lambda r, t: f.TimeoutBefore(operation=_writes(r), probability=_chance(r), **t),
    lambda r, t: f.TimeoutAfter(operation=_writes(r), probability=_chance(r), **t),
    lambda r, t: f.TimeoutBefore(operation="read", probability=r.choice((0.1, 0.3)), **t),
    lambda r, t: f.ResetBefore(operation=_writes(r), probability=_chance(r), **t),
    lambda r, t: f.ResetAfter(operation=_writes(r), probability=_chance(r), **t),
    lambda r, t: f.Truncated(operation=r.choice(("any", "create", "list")), probability=_chance(r), **t),
    lambda r, t: f.SlowDrip(operation="any", probability=r.choice((0.1, 0.3)), seconds=r.choice((5, 40)), **t),
    lambda r, t: f.ForeignBody(
        operation="any", status=r.choice((200, 502)), probability=_chance(r), executed=r.random() < 0.5, **t
    ),
    lambda r, t: f.Unauthorized(**t),
    lambda r, t: f.Capacity(probability=_chance(r), **t),
    lambda r, t: f.Stuck(
        operation=r.choice((("create", "start"), "stop")),
        probability=r.choice((0.1, 0.4)),
        seconds=r.choice((120, 900, 2400)),
        **t,
    ),
    lambda r, t: f.Invisible(seconds=r.choice((20, 45, 80)), show=r.random() < 0.5, probability=_chance(r), **t),
    lambda r, t: f.Vanish(operation="list", limit=r.choice((1, 2, 5)), probability=0.3, **t),
    lambda r, t: f.StaleList(seconds=r.choice((20, 60, 300)), probability=_chance(r), **t),
    lambda r, t: f.PartialList(share=r.choice((0.1, 0.5, 0.9)), sticky=r.random() < 0.5, **t),
    lambda r, t: f.EmptyList(probability=_chance(r), **t),
    lambda r, t: f.DuplicatedList(**t),
    lambda r, t: f.ReorderedList(**t),
    lambda r, t: f.ShiftingPages(by=r.choice((1, -1, 3)), probability=_chance(r), **t),
    lambda r, t: f.UnknownState(share=r.choice((0.1, 0.5)), **t),
    lambda r, t: f.RateLimit(
        operation=r.choice(("create", "create", "write")),
        executed=True,
        probability=_chance(r),
        retry_after=r.choice((None, 5, 60)),
        **t,
    ),
    lambda r, t: f.OtherMachine(
        operation=r.choice(("create", "create", ("create", "show"), "show", "write")),
        of=r.choice(("*", "*", "someone*", "*-*")),
        keep_name=r.random() < 0.3,
        executed=r.random() < 0.7,
        probability=_chance(r),
        **t,
    ),
    lambda r, t: f.StrayAnswer(
        operation=r.choice(("any", "read", "show", "write")),
        probability=r.choice((0.1, 0.5)),
        seconds=r.choice((None, None, 1)),
        **t,
    ),
    _no_effect,
    _no_effect,
    lambda r, t: f.Lingering(seconds=r.choice((None, 900, 7200)), **t),
    lambda r, t: f.TimeoutBefore(operation="create", machine_type=r.choice(("P4000", "P5000")), **t),
    _odd,
    _odd,
    lambda r, t: f.OddValues(
        operation=r.choice(("events", "show")),
        field=r.choice(("id", "state", "error", "events", "events.state")),
        **t,
    ),
    lambda r, t: f.ErrorAnswer(operation=("events", "event"), status=r.choice((500, 404)), **t),
    lambda r, t: f.EndlessList(way=r.choice(("cycle", "empty", "fresh")), probability=_chance(r), **t),
)

PEOPLE = (
    *("start", "stop", "restart", "rename", "destroy", "look_alike", "use", "use", "use", "order"),
    *("slow_destroy", "held_rename", "lease", "lease_race", "address", "price"),
)


def draw_beats(rng: random.Random, first: float, last: float, fleets: Sequence[FleetSpec]) -> list[Beat]:
    beats: list[Beat] = []

    def at() -> float:
        return round(rng.uniform(first, last - 1), 3)

    beats += [_person(rng, at()) for _ in range(rng.randrange(0, 16))]
    for _ in range(rng.randrange(0, 6)):
        how = rng.choice(("now", "turns", "point", "point", "stop"))
        down = rng.choice((1, 5, 60, 60, 1200, 3 * HOUR))
        beats.append(Beat(at(), "kill", {"how": how, "count": rng.randrange(0, 150), "down": down}))
    for _ in range(rng.randrange(0, 3)):
        by = rng.choice((1, 1, -1)) * rng.choice((2, 45, 400, 3700, 7300, 26 * 3600, 3 * 86_400))
        beats.append(Beat(at(), "clock", {"by": by}))
    for _ in range(rng.randrange(0, 4)):
        beats.append(Beat(at(), "reload", {"fleets": _changed(rng, fleets), "for": rng.choice((300, 1800, 7200))}))
    for _ in range(rng.randrange(0, 2)):
        beats.append(Beat(at(), "bad_reload", {"way": rng.randrange(0, 6), "for": rng.choice((20, 900))}))
    for _ in range(rng.randrange(0, 5)):
        kind = rng.choice(("hold", "hold", "freeze", "freeze_all"))
        verbs = rng.choice((None, None, ("stop",), ("create", "start"), ("destroy",)))
        beats.append(Beat(at(), kind, {"verbs": verbs, "for": rng.choice((600, 3600, 4 * HOUR))}))
    if rng.random() < 0.4:
        beats.append(Beat(at(), "lift"))
    if rng.random() < 0.3:
        beats.append(Beat(at(), "silence", {"for": rng.choice((120, 1800, 7200))}))
    if rng.random() < 0.15:
        beats.append(Beat(at(), "late", {"for": rng.choice((600, 3600)), "by": rng.choice((3.0, 40.0, 400.0))}))
    return beats + _host_beats(rng, at)


def _host_beats(rng: random.Random, at: Callable[[], float]) -> list[Beat]:
    """What befalls the machine that fleetd runs on, now and then."""
    beats: list[Beat] = []
    if rng.random() < 0.25:
        beats.append(Beat(at(), "second"))
    if rng.random() < 0.15:
        way = rng.choice(("lock", "directory"))
        beats.append(Beat(at(), "unlock", {"way": way, "for": rng.choice((900, 3600))}))
    if rng.random() < 0.2:
        beats.append(Beat(at(), "trouble", {"times": rng.choice((1, 1, 3))}))
    if rng.random() < 0.1:
        beats.append(Beat(at(), "other", {"for": rng.choice((1800, 7200)), "target": rng.choice((0, 0, 2))}))
    if rng.random() < 0.2:
        beats.append(Beat(at(), "disk", {"way": rng.choice(("full", "readonly")), "for": rng.choice((60, 1800))}))
    if rng.random() < 0.2:
        way = rng.choice(("deleted", "deleted_alive", "damaged"))
        beats.append(Beat(at(), "journal", {"way": way, "place": rng.random(), "for": rng.choice((30, 600))}))
    return beats


def _person(rng: random.Random, at: float) -> Beat:
    """Somebody does something."""
    more: dict[str, Any] = {}
    what = rng.choice(PEOPLE)
    match what:
        case "use":
            lasts = rng.choice((600, 3600, 4 * HOUR, 12 * HOUR))
            more = {"count": rng.choice((1, 1, 3, 8)), "for": lasts, "starves": rng.random() < 0.2}
        case "slow_destroy":
            more = {"for": rng.choice((None, 900.0, 7200.0))}
        case "lease":
            count, lasts, every = rng.choice(((1, 3600, 0), (1, 4 * HOUR, 0), (40, 20, 60), (6, 1200, 900)))
            more = {"count": count, "for": lasts, "every": every}
        case "lease_race":
            more = {"count": rng.choice((1, 4, 12))}
        case "held_rename":
            by = rng.choice(("name", "name", "id"))
            more = {"by": by, "for": rng.choice((1800, 4 * HOUR)), "after": rng.choice((0, 1, 90, 1200))}
        case "address":
            more = {"for": rng.choice((900, 5400))}
        case "price":
            more = {"machine_type": rng.choice(("P4000", "P5000")), "hourly": rng.choice(("0.51", "0.61", "1.02"))}
    return Beat(at, what, more)


def _changed(rng: random.Random, fleets: Sequence[FleetSpec]) -> tuple[FleetSpec, ...]:
    """Another good config."""
    changed = list(fleets)
    number = rng.randrange(len(changed))
    spec = changed[number]
    match rng.choice(("target", "target", "zero", "removed", "renamed", "windowless", "destroys")):
        case "target":
            changed[number] = replace(spec, target=max(0, spec.target + rng.choice((-5, -2, 2, 4))))
        case "zero":
            changed[number] = replace(spec, target=0)
        case "removed" if len(changed) > 1:
            del changed[number]
        case "renamed":
            changed[number] = replace(spec, name=f"{spec.name}2", adopt=())
        case "windowless":
            changed[number] = replace(spec, window=None)
        case _:
            changed[number] = replace(spec, scale_in="destroy", allow_destroy=True, standby=0)
    return tuple(changed)
