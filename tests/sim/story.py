"""A story: everything that will befall a run, drawn from its seed before it begins."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from fleetd.model.fleet import Window
from fleetd.model.spans import spans
from fleetd.simulator import faults as f
from tests.sim.dialects import Dialect
from tests.sim.draws import draw_beats, draw_storm
from tests.sim.record import EPOCH
from tests.sim.spec import Beat, FleetSpec

HOUR = 3600.0
DAY = 24 * HOUR
CALM = 5 * HOUR
"""The end of every run, in which nothing goes wrong any more: time to converge, and an hour without a write."""
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")


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
    rate: float = 1000
    """Requests a second that the daemon allows itself."""

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
            + (f"max_requests_per_second = {self.rate:g}\n" if self.rate < 1000 else "")
            + f'[daemon]\ninterval = "{self.interval}s"\npoll = "{self.poll}s"\nlisten = ""\n'
            '[prices]\nP4000 = 0.51\nP5000 = 0.78\n[schedules]\nsnapshot_check = "every 20m"\n'
        )
        idle = '[idle_sources.gpu]\nkind = "http"\nurl = "http://{private_ip}:9100/idle"\n'
        idle += '[idle_sources.job]\nkind = "lease"\n'
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
            beats += draw_beats(rng, first + (HOUR if day == 0 else 0), last, fleets)
    rules: list[f.Rule] = []
    for day in range(max(1, round(days))):
        first, last = day * DAY, min(calm_from, (day + 1) * DAY)
        for _ in range(rng.randrange(2, 7) if last > first + HOUR else 0):
            storm = draw_storm(rng, first, last, fleets)
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
        rate=rng.choice((1000, 1000, 1000, 4)),
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


def _foreign(rng: random.Random, fleets: Sequence[FleetSpec]) -> tuple[tuple[str, str], ...]:
    names = ["someone-elses", f"{fleets[0].name}-backup", f"{fleets[0].name}-abcdef", f"{fleets[0].name}"]
    found = tuple((name, rng.choice(("ready", "ready", "off"))) for name in names[: rng.randrange(1, 5)])
    adopted = [spec.name for spec in fleets if spec.adopt and rng.random() < 0.8]
    return (*found, *((f"old-{name}-1", rng.choice(("ready", "off"))) for name in adopted))
