"""A night, drawn from its seed before it begins: fleets, jobs, hostile sources, people, hosts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fleetd.simulator import faults as f

HOUR = 3600.0
LENGTH = 3 * HOUR
EVENING = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
"""Every night begins on a Monday, at eight."""
INTERVAL = 60
STEP = 30.0
"""Seconds between two samples that are asked for ..."""
SCRAPE = 15.0
"""... and between two scrapes."""

HEAD = """\
version = 1
[provider]
kind = "paperspace-core"
api_key = { env = "PAPERSPACE_API_KEY" }
max_requests_per_second = RATE
[daemon]
interval = "INTERVALs"
poll = "15s"
listen = ""
[schedules]
shutdown_timeout_check = "every 5m"
[idle_sources.gpu]
kind = "prometheus"
url = "http://127.0.0.1:PORT"
query = 'max_over_time(gpu_load{instance="{private_ip}:9400"}[{window}])'
below = 0.02
step = "30s"
timeout = "5s"
[idle_sources.agent]
kind = "http"
url = "http://127.0.0.1:PORT/idle/{private_ip}"
timeout = "5s"
[idle_sources.login]
kind = "exec"
argv = ["/usr/local/bin/who-is-on", "{private_ip}"]
timeout = "5s"
[idle_sources.job]
kind = "lease"
"""

KINDS: tuple[tuple[str, ...], ...] = (
    ("gpu",),
    ("gpu",),
    ("gpu", "agent"),
    ("gpu", "login"),
    ("agent",),
    ("agent", "login"),
    ("job",),
    ("gpu", "job"),
)
"""The sources that a fleet may ask: ``gpu`` is a Prometheus, ``agent`` http, ``login`` exec, ``job`` leases alone."""

TRICKS = {
    "gpu": (
        *("status_500", "status_500", "status_502", "status_429", "reset", "hang", "slow", "cut", "no_series"),
        *(
            "vector",
            "redirect",
            "packed",
            "part",
            "warning",
            "error",
            "one_time",
            "outside",
            "stale",
            "stale_redated",
        ),
        *("other", "twice", "key_twice", "negative", "nan", "not_a_number", "thinned", "busy_dropped", "histograms"),
        *("busy_series_dropped", "doubled_answer"),
    ),
    "agent": (
        *("status_500", "status_404", "nothing", "html", "reset", "hang", "slow", "cut", "redirect", "cached_age"),
        *(
            "cached_date",
            "other",
            "null_machine",
            "key_twice",
            "text",
            "number",
            "nested",
            "packed",
            "doubled_answer",
        ),
    ),
    "login": (
        "exit_1",
        "hang",
        "slow",
        "cut",
        "noise",
        "key_twice",
        "other",
        "null_machine",
        "text",
        "much",
        "nothing",
    ),
}
"""What a broken exporter, agent, script or proxy can do to an answer. See ``hostile``."""
OUTAGES = ("gap", "gap", "gap", "busy_gpu", "busy_gpu", "busy_gpu_for_good", "nan", "negative")
"""What can befall an exporter while a job runs."""


@dataclass(frozen=True)
class FleetOf:
    """A fleet of one night."""

    name: str
    size: int
    sources: tuple[str, ...]
    after: int
    """Minutes."""
    windows: tuple[tuple[str, str, int | None, bool], ...]
    """(start, end, target, parks)."""
    scale_in: str = "stop"
    enforce: bool = False
    """It has a shutdown timeout of an hour, which fleetd enforces."""

    def toml(self) -> str:
        """Its part of the file."""
        name = f"fleets.{self.name}"
        lines = [
            f'[{name}]\ntarget = {self.size}\nadopt = ["{self.name}-*"]\nscale_in = "{self.scale_in}"',
            f'allow_destroy = {str(self.scale_in == "destroy").lower()}\nrespect_manual = "0m"',
            f'[{name}.machine]\nregion = "East Coast (NY2)"\nmachineType = "P4000"\nsize = 50',
            f'billingType = "hourly"\ntemplateId = "tbu200wi"\n[{name}.guards]\nmax_stops_per_pass = "100%"',
            "max_destroys_per_pass = 3",
            f'[{name}.idle]\nafter = "{self.after}m"\nmin_uptime = "3m"\nsources = {list(self.sources)!r}',
        ]
        if self.enforce:
            lines.append(f"[{name}.shutdown_timeout]\nhours = 1\nenforce = true")
        for number, (start, end, target, parks) in enumerate(self.windows):
            lines += [
                f'[[{name}.windows]]\nname = "w{number}"\nstart = "{start}"\nend = "{end}"\ntimezone = "UTC"',
                f"target = {target}" if target is not None else "",
                "park_idle = true" if parks else "",
            ]
        return "\n".join(line for line in lines if line)


@dataclass(frozen=True)
class Job:
    """Somebody's work on one machine: it begins ``gap`` seconds after the one before it has ended."""

    gap: float
    lasts: float
    gpu: int
    seen_by: frozenset[str]
    """The sources in which it shows."""
    leases: bool
    """It takes a lease, and does not begin without one."""
    lease_for: float
    """Seconds that each of its leases lasts; shorter than the job, they are renewed."""
    trick: str | None
    """What the sources that see it do to their answers while it runs, or an outage of its exporter."""
    early: float
    late: float
    """Seconds by which that begins before, and ends after."""


@dataclass(frozen=True)
class Mood:
    """A span in which a source answers in some way about a machine, whoever works there."""

    since: float
    until: float
    source: str
    machine: int
    trick: str
    share: float
    """Of the answers."""


@dataclass(frozen=True)
class Event:
    """What people, hosts and clocks do."""

    at: float
    what: str
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Night:
    """Everything that is drawn."""

    seed: str
    fleets: tuple[FleetOf, ...]
    jobs: tuple[tuple[Job, ...], ...]
    """By machine, in the order of the fleets."""
    gpus: tuple[int, ...]
    moods: tuple[Mood, ...]
    events: tuple[Event, ...]
    rules: tuple[f.Rule, ...]
    rate: float
    """Requests a second that the daemon allows itself."""
    own_clock: bool
    """The Prometheus has a clock of its own, which is right; else it is on the daemon's host."""
    wire: bool
    """The sources answer over real sockets."""
    races: float
    """The share of the daemon's looks, questions and calls into which somebody's lease falls."""
    memory: float
    """Seconds for which agents and scripts remember use."""
    length: float = LENGTH
    """Seconds that the daemon runs."""

    def toml(self, port: int) -> str:
        """The config file."""
        head = HEAD.replace("RATE", f"{self.rate:g}").replace("PORT", str(port)).replace("INTERVAL", str(INTERVAL))
        used = {source for fleet in self.fleets for source in fleet.sources}
        tables = head.split("[idle_sources.")
        kept = [tables[0], *(f"[idle_sources.{t}" for t in tables[1:] if t.partition("]")[0] in used)]
        return "".join(kept) + "\n".join(fleet.toml() for fleet in self.fleets) + "\n"


def draw_night(seed: str) -> Night:
    """The night of a seed."""
    rng = random.Random(f"night:{seed}")
    fleets = tuple(_fleet(rng, name) for name in ("render", "train", "lab")[: rng.choice((1, 2, 2, 3))])
    owners = [fleet for fleet in fleets for _ in range(fleet.size)]
    gpus = tuple(rng.choice((1, 1, 2, 3)) for _ in owners)
    jobs = tuple(_jobs(rng, fleet, gpus[n]) for n, fleet in enumerate(owners))
    return Night(
        seed,
        fleets,
        jobs,
        gpus,
        tuple(_moods(rng, owners)),
        tuple(sorted(_events(rng, len(owners)), key=lambda e: e.at)),
        tuple(_rules(rng)),
        rate=rng.choice((10, 10, 2, 1)),
        own_clock=rng.random() < 0.5,
        wire=rng.random() < 0.08,
        races=rng.choice((0.0, 0.05, 0.2)),
        memory=4.0 * INTERVAL + 60,
    )


def _fleet(rng: random.Random, name: str) -> FleetOf:
    size = rng.choice((1, 2, 2, 3))
    windows: list[tuple[str, str, int | None, bool]] = []
    minute = 20 * 60 + rng.randrange(3, 15)
    while minute < 23 * 60:
        lasts = rng.choice((40, 60, 80))
        kind = rng.choice(("parks", "parks", "fewer", "both"))
        target = None if kind == "parks" else rng.randrange(0, size)
        windows.append((_clock(minute), _clock(minute + lasts), target, kind != "fewer"))
        minute += lasts + rng.choice((10, 15, 30))
    return FleetOf(
        name,
        size,
        rng.choice(KINDS),
        after=rng.choice((5, 8, 12, 15)),
        windows=tuple(windows) if rng.random() < 0.85 else (),
        scale_in=rng.choice(("stop", "stop", "stop", "destroy")),
        enforce=rng.random() < 0.3,
    )


def _clock(minute: int) -> str:
    return f"{minute // 60 % 24:02}:{minute % 60:02}"


def _jobs(rng: random.Random, fleet: FleetOf, gpus: int) -> tuple[Job, ...]:
    after = fleet.after * 60.0
    jobs: list[Job] = []
    at = 0.0
    measured = [source for source in fleet.sources if source != "job"]
    while at < LENGTH:
        gap = rng.choice((7.0, 200.0, 0.5 * after, after - 20, after + 45, 1.3 * after, 2.2 * after, 4 * after))
        gap = max(3.0, gap + rng.uniform(-15, 15))
        lasts = rng.choice((1.0, 1.0, 5.0, 29.0, 70.0, 240.0, 900.0, 2400.0)) * rng.uniform(0.9, 1.2)
        seen = frozenset(rng.sample(measured, rng.randrange(1, len(measured) + 1))) if measured else frozenset()
        leases = not measured or rng.random() < 0.2
        trick: str | None = None
        if seen and rng.random() < 0.45:
            source = rng.choice(sorted(seen))
            trick = rng.choice((*TRICKS[source], *OUTAGES * 3)) if source == "gpu" else rng.choice(TRICKS[source])
        lease_for = rng.choice((lasts, lasts + 2, lasts / 3, lasts / 12))
        early, late = rng.choice((1.0, 35.0, 130.0)), rng.choice((75.0, 100.0, 200.0))
        gpu = rng.randrange(gpus)
        jobs.append(Job(gap, lasts, gpu, seen, leases, max(1.0, lease_for), trick, early, late))
        at += gap + lasts
    return tuple(jobs)


def _moods(rng: random.Random, owners: Sequence[FleetOf]) -> list[Mood]:
    moods = []
    for number, fleet in enumerate(owners):
        for source in fleet.sources:
            for _ in range(rng.choice((0, 0, 1, 2, 4)) if source in TRICKS else 0):
                since = rng.uniform(0, LENGTH)
                lasts = rng.choice((40.0, 200.0, 900.0, 3000.0))
                share = rng.choice((0.1, 0.3, 0.5, 1.0))
                moods.append(Mood(since, since + lasts, source, number, rng.choice(TRICKS[source]), share))
    return moods


def _events(rng: random.Random, machines: int) -> list[Event]:
    events: list[Event] = []

    def at() -> float:
        return rng.uniform(120, LENGTH - 600)

    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        how = rng.choice(("kill", "kill", "stop"))
        events.append(Event(at(), "restart", {"how": how, "down": rng.choice((2.0, 30.0, 150.0, 1500.0))}))
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        by = rng.choice((1, -1)) * rng.choice((2.0, 20.0, 50.0, 130.0, 700.0, 1500.0, 3600.0))
        events.append(Event(at(), "clock", {"by": by}))
    for _ in range(rng.choice((0, 1, 2, 4))):
        lasts = rng.choice((30.0, 300.0, 1500.0))
        lift = rng.random() < 0.4
        events.append(Event(at(), "hold", {"machine": rng.randrange(machines), "for": lasts, "lift": lift}))
    for _ in range(rng.choice((0, 2, 6, 12))):
        lasts = rng.choice((1.0, 5.0, 60.0, 600.0))
        events.append(
            Event(at(), "lease", {"machine": rng.randrange(machines), "for": lasts, "early": rng.random() < 0.3})
        )
    if machines > 1:
        for _ in range(rng.choice((0, 0, 1, 2))):
            one, other = rng.sample(range(machines), 2)
            lasts = rng.choice((200.0, 1500.0, 5000.0))
            events.append(Event(at(), "address", {"one": one, "other": other, "for": lasts}))
    return events


def _rules(rng: random.Random) -> list[f.Rule]:
    rules: list[f.Rule] = []
    for _ in range(rng.randrange(0, 4)):
        since = rng.uniform(300, LENGTH - 900)
        span: dict[str, Any] = {"after": since, "until": since + rng.choice((120.0, 600.0, 2400.0))}
        rules.append(
            rng.choice(
                (
                    f.RateLimit(operation="stop", probability=0.6, retry_after=rng.choice((None, 5, 40)), **span),
                    f.RateLimit(operation="any", probability=0.3, retry_after=rng.choice((None, 1, 20)), **span),
                    f.Unavailable(operation="any", probability=0.3, retry_after=rng.choice((None, 2)), **span),
                    f.SlowDrip(operation="show", seconds=rng.choice((2, 10, 25)), probability=0.6, **span),
                    f.SlowDrip(operation=("stop", "list"), seconds=rng.choice((5, 20)), probability=0.5, **span),
                    f.TimeoutAfter(operation="stop", probability=0.5, **span),
                    f.TimeoutBefore(operation="stop", probability=0.5, **span),
                    f.ResetBefore(operation="write", probability=0.5, **span),
                    f.StaleList(seconds=rng.choice((60, 300)), **span),
                    f.PartialList(share=0.5, **span),
                    f.NoEffect(operation="stop", event="error", probability=0.7, **span),
                )
            )
        )
    return rules
