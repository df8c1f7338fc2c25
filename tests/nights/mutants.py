"""Broken builds that the evidence must find, each with a short night in which work hangs on the broken piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from fleetd.activity import http, json_answer, prometheus, series
from fleetd.engine import rounds
from fleetd.engine.leases import Leases
from fleetd.model.journal import Hold
from fleetd.planner import idle
from tests.nights.draw import HOUR, Event, FleetOf, Job, Night
from tests.sim.mutation import rewritten

AFTER = 8
"""Minutes."""
JOB = Job(
    gap=240.0,
    lasts=2400.0,
    gpu=0,
    seen_by=frozenset(),
    leases=False,
    lease_for=1.0,
    trick=None,
    early=60.0,
    late=90.0,
)
FLEET = FleetOf("render", 2, ("gpu",), AFTER, windows=(("20:05", "22:30", None, True),))
NOBODY: tuple[Job, ...] = ()


def night(
    source: str,
    *jobs: Job,
    events: Sequence[Event] = (),
    gpus: int = 2,
    size: int = 2,
    after: int = AFTER,
    **more: Any,
) -> Night:
    """Two machines that are parked when they are idle; on the first of them these jobs run, seen by ``source``."""
    seen = tuple(replace(job, seen_by=frozenset({source} - {"job"}), leases=source == "job") for job in jobs)
    fields: dict[str, Any] = {"moods": (), "races": 0.0, "own_clock": True}
    return Night(
        "mutant",
        (replace(FLEET, size=size, sources=(source,), after=after),),
        (seen, *(NOBODY,) * (size - 1)),
        (gpus,) * size,
        events=tuple(events),
        rules=(),
        rate=10,
        wire=False,
        memory=300.0,
        length=1.2 * HOUR,
        **(fields | more),
    )


def tricked(source: str, trick: str, **more: Any) -> Night:
    """The same trick all through a long job."""
    return night(source, replace(JOB, trick=trick), **more)


@dataclass(frozen=True)
class Mutant:
    """A broken build."""

    name: str
    piece: Any
    old: str
    new: str
    night: Night

    @contextmanager
    def applied(self) -> Iterator[None]:
        """With the piece replaced wherever it is known by name."""
        with rewritten(self.piece, self.old, self.new):
            yield


SHORT = tuple(replace(JOB, gap=150.0, lasts=1.0, lease_for=1.0) for _ in range(30))
"""Jobs of a second, every two and a half minutes."""
MUTANTS = (
    Mutant(
        "what nobody knows is idle",
        idle.combine,
        "return Activity.UNKNOWN",
        "return Activity.IDLE",
        tricked("gpu", "status_500"),
    ),
    Mutant(
        "what was in use goes on being idle",
        idle.advance,
        "if verdict is Activity.ACTIVE:\n        return stopped",
        "if verdict is Activity.ACTIVE:\n        return IdleClock(clock.idle_since, now)",
        night("agent", replace(JOB, lasts=900.0)),
    ),
    Mutant(
        "a gap in a series is forgiven",
        series._gap,
        "> FORGIVEN:",
        "> 5:",
        night("gpu", replace(JOB, gap=600.0, lasts=1.0, trick="busy_dropped", early=1e4, late=1e4), after=15),
    ),
    Mutant(
        "of an answer the first series counts",
        series.judge_answer,
        "for series in answer.data.result]",
        "for series in answer.data.result[:1]]",
        night("gpu", replace(JOB, gpu=1)),
    ),
    Mutant(
        "nobody misses a series that vanished",
        prometheus.PrometheusSource._missing,
        "if there < most",
        "if False",
        tricked("gpu", "busy_gpu"),
    ),
    Mutant(
        "a restart forgets the series that there were",
        rounds.Rounds.use,
        "source.remind(self._memory[_key(source)])",
        "pass",
        tricked("gpu", "busy_gpu", events=(Event(900.0, "restart", {"how": "kill", "down": 30.0}),)),
    ),
    Mutant(
        "a time that goes by twice is believed",
        prometheus.PrometheusSource._gone_by_twice,
        "if self._twice <= asked.start - asked.step:",
        "if True:",
        night(
            "gpu",
            replace(JOB, gap=1710.0, lasts=1200.0),
            events=(
                Event(60.0, "restart", {"how": "kill", "down": 1500.0}),  # else it were parked by then
                Event(1700.0, "clock", {"by": -1700.0}),
            ),
            own_clock=False,
        ),
    ),
    Mutant(
        "a series may be of another machine",
        series._refuse_what_is_not_its_own,
        "if label in metric and",
        "if False and",
        tricked("gpu", "other"),
    ),
    Mutant(
        "a verdict may be of another machine",
        json_answer.parse_verdict,
        "if other is not None:",
        "if False:",
        tricked("login", "other"),
    ),
    Mutant(
        "the last of two words counts",
        json_answer.parse_verdict,
        "refuse_doubled_keys(body)",
        "msgspec.json.decode(body)",
        tricked("agent", "key_twice"),
    ),
    Mutant(
        "what a cache kept is news",
        http.judge_age,
        'raise Unusable(f"a cache',
        'return None and Unusable(f"a cache',
        tricked("agent", "cached_age"),
    ),
    Mutant(
        "an address is one machine's",
        rounds.shared_names,
        "if other is not None:",
        "if False:",
        night("gpu", JOB, events=(Event(200.0, "address", {"one": 0, "other": 1, "for": 3000.0}),)),
    ),
    Mutant(
        "a lease that has ended was no use",
        Leases.last_use,
        "return max(",
        "return None and max(",
        night("job", *SHORT),
    ),
    Mutant(
        "a lease is in force nowhere",
        Leases.in_force,
        "return max(held",
        "return None and max(held",
        night("agent", events=(Event(100.0, "lease", {"machine": 0, "for": 2400.0, "early": False}),)),
    ),
    Mutant(
        "holds forbid nothing",
        Hold.forbids,
        "if now >= self.expires_at or verb not in self.verbs:",
        "if True:",
        night("agent", size=8, races=0.4),
    ),
    Mutant(
        "silence of several passes is forgiven",
        idle.advance,
        "gap > max_gap * (FORGIVEN / GAPS) or uncovered > min(now - since, after) * (1 - COVERAGE)",
        "False",
        night("agent", replace(JOB, lasts=120.0, trick="reset", early=100.0, late=400.0)),
    ),
)
