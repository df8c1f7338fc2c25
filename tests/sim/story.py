"""A story: everything that will befall a run, drawn from its seed before it begins."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from fleetd.model.fleet import Window
from fleetd.planner.windows import spans
from fleetd.simulator import faults as f
from tests.sim.dialects import Dialect
from tests.sim.record import EPOCH

HOUR = 3600.0
DAY = 24 * HOUR
CALM = 5 * HOUR
"""The end of every run, in which nothing goes wrong any more: time to converge, and an hour without a write."""
REGION = "East Coast (NY2)"
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
DAYS_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class FleetSpec:
    """A fleet as the file will say it."""

    name: str
    target: int
    machine_type: str = "P4000"
    scale_in: str = "stop"
    allow_destroy: bool = False
    standby: int = 0
    adopt: tuple[str, ...] = ()
    window: Window | None = None
    idle_after: int | None = None
    """Minutes."""
    timeout_hours: int | None = None
    snapshots: bool = False
    respect_manual: int = 30
    """Minutes."""
    stops: str = "25%"
    surge: int = 0
    cost_cap: float = 0.0

    def toml(self, parameters: str) -> str:
        """Its part of the file; ``parameters``: the dialect's own of the create call."""
        name = f"fleets.{self.name}"
        lines = [
            f"[{name}]",
            f"target = {self.target}",
            f'scale_in = "{self.scale_in}"',
            f"allow_destroy = {str(self.allow_destroy).lower()}",
            f"standby = {self.standby}" if self.standby else "",
            f"adopt = {list(self.adopt)!r}" if self.adopt else "",
            f'respect_manual = "{self.respect_manual}m"',
            f"[{name}.machine]",
            f'region = "{REGION}"',
            f'machineType = "{self.machine_type}"',
            parameters,
            f"[{name}.guards]",
            f'max_stops_per_pass = "{self.stops}"',
            f"max_surge = {self.surge}",
            f"max_hourly_cost = {self.cost_cap}" if self.cost_cap else "",
        ]
        if self.window is not None:
            lines += _window(name, self.window)
        if self.idle_after is not None:
            lines += [f'[{name}.idle]\nafter = "{self.idle_after}m"\nmin_uptime = "5m"\nsources = ["gpu"]']
        if self.timeout_hours is not None:
            lines += [f"[{name}.shutdown_timeout]\nhours = {self.timeout_hours}\nenforce = true"]
        if self.snapshots:
            lines += [f'[{name}.auto_snapshot]\nfrequency = "day"\nkeep = 3']
        return "\n".join(line for line in lines if line)


@dataclass(frozen=True)
class Beat:
    """Something that happens at an instant."""

    at: float
    what: str
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Story:
    """Everything that is drawn."""

    seed: str
    machines: int
    days: float
    interval: int
    poll: int
    page_size: int | None
    """Machines a page; None: the vendor's."""
    vendor_timer: bool
    latency: tuple[float, float]
    """Seconds, least and most, until the provider answers."""
    fleets: tuple[FleetSpec, ...]
    foreign: tuple[tuple[str, str], ...]
    """(name, state) of machines that are there at the start."""
    rules: tuple[f.Rule, ...]
    beats: tuple[Beat, ...]
    epoch_offset: float
    """Seconds from the epoch of all stories to the start of this one."""

    @property
    def calm_from(self) -> float:
        """When the last fault is over."""
        return self.days * DAY - CALM

    @property
    def end(self) -> float:
        """When the run ends."""
        return self.days * DAY

    def toml(self, fleets: Sequence[FleetSpec], dialect: Dialect) -> str:
        """The config file with these fleets."""
        head = (
            f'version = 1\n[provider]\nkind = "{dialect.kind}"\napi_key = {{ env = "PAPERSPACE_API_KEY" }}\n'
            f'[daemon]\ninterval = "{self.interval}s"\npoll = "{self.poll}s"\nlisten = ""\n'
            '[prices]\nP4000 = 0.51\nP5000 = 0.78\n[schedules]\nsnapshot_check = "every 20m"\n'
        )
        idle = '[idle_sources.gpu]\nkind = "http"\nurl = "http://{private_ip}:9100/idle"\n'
        parts = [head, *(spec.toml(dialect.parameters) for spec in fleets)]
        if any(spec.idle_after is not None for spec in fleets):
            parts.append(idle)
        return "\n".join(parts) + "\n"


def draw_story(seed: str, *, days: float, machines: int) -> Story:
    """The story of a seed."""
    rng = random.Random(f"story:{seed}:{days:g}:{machines}")
    offset = (
        rng.choice(
            (
                rng.randrange(0, 14) * DAY,
                # The nights of 2026 in which clocks change: Berlin (29 March), New York (8 March).
                (date(2026, 3, 28) - EPOCH.date()).days * DAY,
                (date(2026, 3, 7) - EPOCH.date()).days * DAY,
            )
        )
        + rng.randrange(0, 24) * HOUR
    )
    interval = rng.choice((120, 300, 300, 300, 300))
    fleets = _fleets(rng, machines, offset, days)
    calm_from = days * DAY - CALM
    beats: list[Beat] = []
    for day in range(max(1, round(days))):
        first = day * DAY
        last = min(calm_from, first + DAY)
        if last > first:
            beats += _beats(rng, first + (HOUR if day == 0 else 0), last, fleets)
    rules: list[f.Rule] = []
    for day in range(max(1, round(days))):
        first, last = day * DAY, min(calm_from, (day + 1) * DAY)
        for _ in range(rng.randrange(2, 7) if last > first + HOUR else 0):
            storm = _storm(rng, first, last, fleets)
            rules += storm[0]
            beats += storm[1]
    return Story(
        seed=seed,
        machines=machines,
        days=days,
        interval=interval,
        poll=rng.choice((15, 30)),
        page_size=rng.choice((None, None, None, None, None, None, None, 20)),
        latency=rng.choice(((0.0, 0.0), (0.0, 0.0), (0.005, 0.02), (0.1, 2.0))),
        vendor_timer=rng.random() < 0.4 and days < 6,
        fleets=fleets,
        foreign=_foreign(rng, fleets),
        rules=tuple(rules),
        beats=tuple(sorted(beats, key=lambda beat: beat.at)),
        epoch_offset=offset,
    )


def _fleets(rng: random.Random, machines: int, offset: float, days: float) -> tuple[FleetSpec, ...]:
    count = rng.choice((1, 2, 2, 3))
    sizes = [machines // count] * count
    sizes[0] += machines - sum(sizes)
    names = ("training", "inference", "ci-runners")
    drawn = []
    for name, size in zip(names, sizes, strict=False):
        window = _draw_window(rng, size, offset, days) if rng.random() < 0.6 else None
        parks = window is not None and window.park_idle
        scale_in, allow = rng.choice((("stop", False), ("stop", False), ("destroy", True), ("destroy", False)))
        drawn.append(
            FleetSpec(
                name=name,
                target=max(1, size - rng.randrange(0, max(1, size // 5))),
                machine_type=rng.choice(("P4000", "P4000", "P5000")),
                scale_in=scale_in,
                allow_destroy=allow,
                standby=rng.choice((0, 0, 2)) if scale_in == "destroy" else 0,
                adopt=(f"old-{name}-*",) if rng.random() < 0.3 else (),
                window=window,
                idle_after=rng.choice((20, 30, 60)) if parks or rng.random() < 0.4 else None,
                timeout_hours=rng.choice((6, 1000)) if rng.random() < 0.3 else None,
                snapshots=rng.random() < 0.2,
                respect_manual=rng.choice((0, 10, 30)),
                stops=rng.choice(("25%", "50%", "100%")),
                surge=rng.choice((0, 0, 0, 1)),
            )
        )
    return tuple(drawn)


def _draw_window(rng: random.Random, size: int, offset: float, days: float) -> Window | None:
    """A window without an edge in the calm, so that the calm is one."""
    start = EPOCH + timedelta(seconds=offset)
    ends = start + timedelta(days=days)
    calm = ends - timedelta(seconds=CALM + 1800)
    for _ in range(40):
        parks = rng.random() < 0.5
        window = Window(
            name="night",
            start=rng.randrange(0, 24) * 60 + rng.choice((0, 30)),
            end=rng.randrange(1, 25) * 60,
            timezone=rng.choice(ZONES),
            days=frozenset(range(7)) if rng.random() < 0.6 else frozenset(rng.sample(range(7), 5)),
            target=rng.randrange(0, max(1, size)) if not parks or rng.random() < 0.3 else None,
            park_idle=parks,
        )
        if window.start == window.end % 1440:
            continue
        near = spans(window, (calm - timedelta(days=3)).date(), (ends + timedelta(days=2)).date())
        if not any(calm <= edge <= ends for span in near for edge in span):
            return window
    return None


def _window(fleet: str, window: Window) -> list[str]:
    lines = [
        f"[[{fleet}.windows]]",
        f'name = "{window.name}"',
        f"days = {[DAYS_NAMES[d] for d in sorted(window.days)]!r}",
        f'start = "{window.start // 60:02}:{window.start % 60:02}"',
        f'end = "{window.end // 60:02}:{window.end % 60:02}"',
        f'timezone = "{window.timezone}"',
    ]
    if window.target is not None:
        lines.append(f"target = {window.target}")
    if window.park_idle:
        lines.append("park_idle = true")
    return lines


def _foreign(rng: random.Random, fleets: Sequence[FleetSpec]) -> tuple[tuple[str, str], ...]:
    names = ["someone-elses", f"{fleets[0].name}-backup", f"{fleets[0].name}-abcdef", f"{fleets[0].name}"]
    found = tuple((name, rng.choice(("ready", "ready", "off"))) for name in names[: rng.randrange(1, 5)])
    adopted = [spec.name for spec in fleets if spec.adopt and rng.random() < 0.8]
    return (*found, *((f"old-{name}-1", rng.choice(("ready", "off"))) for name in adopted))


def _storm(
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
)

PEOPLE = ("start", "stop", "restart", "rename", "destroy", "look_alike", "use", "use", "use", "order")


def _beats(rng: random.Random, first: float, last: float, fleets: Sequence[FleetSpec]) -> list[Beat]:
    beats: list[Beat] = []

    def at() -> float:
        return round(rng.uniform(first, last - 1), 3)

    beats += [Beat(at(), rng.choice(PEOPLE)) for _ in range(rng.randrange(0, 14))]
    for _ in range(rng.randrange(0, 6)):
        how = rng.choice(("now", "turns", "point", "point", "stop"))
        down = rng.choice((1, 5, 60, 60, 1200, 3 * HOUR))
        beats.append(Beat(at(), "kill", {"how": how, "count": rng.randrange(0, 150), "down": down}))
    for _ in range(rng.randrange(0, 3)):
        beats.append(Beat(at(), "clock", {"by": rng.choice((1, 1, -1)) * rng.choice((2, 45, 400, 3700, 7300))}))
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
    if rng.random() < 0.25:
        beats.append(Beat(at(), "second"))
    if rng.random() < 0.2:
        beats.append(Beat(at(), "disk", {"way": rng.choice(("full", "readonly")), "for": rng.choice((60, 1800))}))
    if rng.random() < 0.2:
        way = rng.choice(("deleted", "deleted_alive", "damaged"))
        beats.append(Beat(at(), "journal", {"way": way, "place": rng.random(), "for": rng.choice((30, 600))}))
    return beats


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
