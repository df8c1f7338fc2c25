"""Broken builds of what two replicas rest on, each with the short story in which a promise hangs on the piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from fleetd.simulator import faults as f
from fleetd.store.postgres import journal, lease
from fleetd.store.postgres.journal import PostgresJournal
from fleetd.store.postgres.lease import Lease
from tests.sim.mutation import rewritten
from tests.sim.replicas.story import HOUR, MINUTE, ReplicaStory
from tests.sim.spec import Beat, FleetSpec

FLEET = FleetSpec("training", target=1, stops="100%", respect_manual=0)
AT = 5 * MINUTE


def short_story(*beats: Beat, **more: Any) -> ReplicaStory:
    defaults: dict[str, Any] = {"late": 0.0, "latency": (0.02, 0.05), "trouble": 8 * MINUTE}
    return ReplicaStory("mutation", (FLEET,), beats, **(defaults | more))


def _beat(what: str, at: float = AT, **more: Any) -> Beat:
    return Beat(at, what, {"who": "holder", "where": "now", **more})


def _grow(target: int, at: float = AT) -> Beat:
    return Beat(
        at, "target", {"fleets": (FleetSpec("training", target, stops="100%", respect_manual=0),), "again": 1.0}
    )


@dataclass(frozen=True)
class Mutation:
    """A broken build."""

    promise: int
    name: str
    pieces: tuple[tuple[Any, str, str], ...]
    """What is broken: the function, what it reads, and what it reads then."""
    story: ReplicaStory

    @contextmanager
    def applied(self) -> Iterator[None]:
        """With the pieces replaced."""
        with ExitStack() as stack:
            for piece, old, new in self.pieces:
                stack.enter_context(rewritten(piece, old, new))
            yield


FOUND: dict[str, ReplicaStory] = {
    # What drawn stories have broken once.
    "a lost create is looked for by one whose clock is hours behind, and then by the next": short_story(
        _beat("kill", where="arrival", down=1.0),
        _grow(2, AT + 0.2),
        *(_beat("step_down", AT + seconds) for seconds in (14.0, 15.0, 16.0)),
        late=1.0,
        lag=(24.0, 25.0),
        clocks=(0.0, -3 * HOUR),
    ),
}
MUTATIONS = (
    Mutation(
        8,
        "a write does not ask whose the lease is",
        ((Lease.enter, "if row is None:", "if False:"),),
        short_story(_beat("by_hand", AT + 1.5), _grow(4, AT + 1.6)),
    ),
    Mutation(
        8,
        "the lease's end is told by the replica's own clock",
        (
            (Lease.take, "expires_at <= clock_timestamp() OR", "expires_at <= wall() OR"),
            (lease.holder_of, "expires_at <= clock_timestamp()", "expires_at <= wall()"),
        ),
        short_story(*(_grow(n, AT + n * 11) for n in range(2, 8)), clocks=(2 * HOUR, 2 * HOUR)),
    ),
    Mutation(
        2,
        "a takeover knows nothing of the creates that were under way",
        ((PostgresJournal.open_intents, "WHERE closed_at IS NULL", "WHERE closed_at IS NULL AND created_at < 0"),),
        short_story(_beat("kill", where="arrival", down=1.0), _grow(2, AT + 0.2), late=1.0, lag=(20.0, 25.0)),
    ),
    Mutation(
        5,
        "what is written again because its answer was lost gets another key",
        (
            (
                PostgresJournal.write_intent,
                "_insert(cursor, INTENTS, intent, key)",
                "_insert(cursor, INTENTS, intent, _key())",
            ),
        ),
        short_story(_beat("lose_commits", where="before journal.write_intent", count=8), _grow(5, AT + 0.2)),
    ),
    Mutation(
        7,
        "a takeover knows nothing of the vetoes that were given before",
        (
            (PostgresJournal.holds, "WHERE expires_at > ?", "WHERE expires_at > ? AND FALSE"),
            (journal._refuse_vetoed, "if hold.forbids(", "if False and hold.forbids("),
        ),
        short_story(
            Beat(AT, "freeze", {"host": "b", "all": True, "for": 900.0}),
            _beat("kill", AT + 10, down=60.0),
            _grow(4, AT + 11),
            rules=(f.TimeoutAfter(operation="update", until=1.0),),
        ),
    ),
)
