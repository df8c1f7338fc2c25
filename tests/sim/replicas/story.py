"""What befalls two replicas: drawn from a seed before the run begins."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fleetd.simulator import faults as f
from tests.sim.dialects import CORE
from tests.sim.spec import Beat, FleetSpec

HOSTS = ("a", "b")
MINUTE = 60.0
TROUBLE = 40 * MINUTE
CALM = 22 * MINUTE
"""The end of every run: time to converge, and then to rest; longer where what was backed off from waits longer."""
HOUR = 3600.0
CALM_LIMIT = 2 * HOUR
"""A fleetd that is refused, or fails to start a machine, again and again never comes to rest: it is judged then."""
POINTS = ("arrival", "before call.create", "after journal.write_intent", "after call.create", "before call.stop")
"""Where a process is paused or killed: as a create has left it, or at a point of ``tests/sim/life.py``."""
WEIGHTS: dict[str, int] = {
    "kill": 3,
    "pause": 4,
    "cut_database": 3,
    "cut_provider": 2,
    "restart_database": 3,
    "lose_commits": 3,
    "slow_disk": 1,
    "slow_way": 1,
    "clock": 2,
    "stop": 1,
    "step_down": 2,
    "by_hand": 1,
    "hold": 2,
    "freeze": 2,
    "lift": 1,
    "target": 4,
}
"""How often each is drawn beside the others."""


@dataclass(frozen=True)
class ReplicaStory:
    """Everything that is drawn."""

    seed: str
    fleets: tuple[FleetSpec, ...]
    beats: tuple[Beat, ...]
    rules: tuple[f.Rule, ...] = ()
    clocks: tuple[float, ...] = (0.0, 0.0)
    """Seconds by which each host's wall clock is ahead of the provider's at the start."""
    latency: tuple[float, float] = (0.02, 0.3)
    late: float = 0.1
    """How likely a write is on its way for longer than a moment ..."""
    lag: tuple[float, float] = (0.5, 25.0)
    """... and for how many seconds then; fleetd gives up waiting for its answer after 30."""
    interval: int = 60
    trouble: float = TROUBLE
    calm: float = CALM
    """At least."""

    @property
    def calm_from(self) -> float:
        return self.trouble

    @property
    def end(self) -> float:
        return self.trouble + self.calm

    def toml(self, fleets: Sequence[FleetSpec], state_dir: str) -> str:
        """The config file of a host with these fleets."""
        head = (
            f'version = 1\n[provider]\nkind = "{CORE.kind}"\napi_key = {{ env = "PAPERSPACE_API_KEY" }}\n'
            f'[daemon]\ninterval = "{self.interval}s"\npoll = "15s"\nlisten = ""\n'
            f'state = "postgresql://stand-in/fleetd"\nstate_dir = "{state_dir}"\n[prices]\nP4000 = 0.51\n'
        )
        return "\n".join([head, *(spec.toml(CORE.parameters) for spec in fleets)]) + "\n"


def draw(seed: str) -> ReplicaStory:
    """The story of a seed."""
    rng = random.Random(f"replicas:{seed}")
    fleets = tuple(
        FleetSpec(
            name, rng.randrange(2, 5), stops="100%", respect_manual=0, scale_in=scale_in, allow_destroy=destroys
        )
        for name, (scale_in, destroys) in zip(
            ("training", "inference")[: rng.choice((1, 1, 2))],
            [rng.choice((("stop", False), ("stop", False), ("destroy", True))) for _ in range(2)],
            strict=False,
        )
    )
    beats, at, targets = [], 4 * MINUTE, list(fleets)
    while at < TROUBLE - 2 * MINUTE:
        drawn = _beats(rng, at, targets)
        beats += drawn
        at += rng.choice((5.0, 30.0, 60.0, 120.0, 200.0)) * rng.uniform(0.3, 1.0)
    return ReplicaStory(
        seed,
        fleets,
        tuple(sorted(beats, key=lambda beat: beat.at)),
        tuple(_rule(rng) for _ in range(rng.randrange(0, 3))),
        tuple(rng.choice((0.0, 0.0, 40.0, -2 * HOUR, 5 * HOUR, -26 * HOUR)) for _ in HOSTS),
        rng.choice(((0.005, 0.02), (0.02, 0.3), (0.1, 2.0))),
        rng.choice((0.0, 0.1, 0.4)),
    )


def _beats(rng: random.Random, at: float, targets: list[FleetSpec]) -> list[Beat]:
    what = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    more: dict[str, Any] = {"who": rng.choice(("holder", "holder", "holder", "standby"))}
    match what:
        case "kill":
            more |= {"where": rng.choice(("now", *POINTS)), "down": rng.choice((1.0, 5.0, 30.0, 120.0))}
        case "pause":
            lasts = rng.choice((rng.uniform(0.5, 9), rng.uniform(12, 18), rng.uniform(16, 60)))
            more |= {"where": rng.choice(("now", *POINTS, *POINTS[:3])), "for": round(lasts, 3)}
        case "cut_database":
            more |= {"for": round(rng.choice((rng.uniform(0.2, 6), rng.uniform(6, 20), rng.uniform(15, 90))), 3)}
        case "cut_provider":
            more |= {"for": round(rng.uniform(10, 240), 3), "way": rng.choice(("there", "back", "reset"))}
        case "restart_database":
            more |= {"for": round(rng.choice((rng.uniform(0.1, 3), rng.uniform(3, 12), rng.uniform(12, 40))), 3)}
        case "lose_commits":
            more |= {"count": rng.choice((1, 1, 2, 5))}
        case "slow_disk" | "slow_way":
            more |= {"for": round(rng.uniform(10, 90), 3), "by": rng.choice((0.2, 1.0, 2.5))}
        case "clock":
            more |= {"by": rng.choice((-5 * HOUR, -HOUR, -20.0, 20.0, HOUR, 5 * HOUR))}
        case "hold" | "freeze":
            more |= {"for": round(rng.uniform(30, 900)), "host": rng.choice(HOSTS), "all": rng.random() < 0.5}
        case "lift":
            more |= {"host": rng.choice(HOSTS)}
        case "stop":
            more |= {"down": rng.choice((1.0, 20.0, 120.0))}
    beats = [Beat(round(at, 3), what, more)] if what != "target" else []
    if what in {"target", "by_hand"} or more.get("where", "now") != "now" or rng.random() < 0.3:
        number = rng.randrange(len(targets))
        spec = targets[number]
        targets[number] = replace(spec, target=max(0, min(6, spec.target + rng.choice((-2, -1, 1, 1, 2, 3)))))
        shift = rng.choice((0.0, 0.5, 3.0))
        again = rng.choice((0.5, 5.0, 60.0))
        beats.append(Beat(round(at + shift, 3), "target", {"fleets": tuple(targets), "again": again}))
    return beats


def _rule(rng: random.Random) -> f.Rule:
    begins = rng.uniform(0, TROUBLE - 300)
    span = {"after": round(begins, 3), "until": round(begins + rng.uniform(60, 600), 3)}
    return rng.choice(
        (
            f.ErrorAnswer(operation="create", probability=0.4, executed=rng.random() < 0.5, **span),
            f.TimeoutAfter(operation=("create", "start"), probability=0.4, **span),
            f.ResetAfter(operation="write", probability=0.5, **span),
            f.ResetBefore(operation="any", probability=0.2, **span),
            f.TimeoutBefore(operation="read", probability=0.1, **span),
        )
    )
