"""What a start takes from history of who turned machines; and what a create's answer may not name."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from fleetd.engine.executor import Executor
from fleetd.engine.external_changes import LATE_EFFECT, ExternalChanges
from fleetd.model.errors import Ambiguous
from fleetd.model.journal import OUTSIDE, HistoryEntry
from fleetd.model.reasons import Verb
from fleetd.planner.attribution import Culprit
from tests.support.build import NOW, ago, facts, intent, machine, seen, token_name
from tests.support.virtual_time import run_virtual

P = pytest.param
BY = Culprit.OPERATOR


def line(minutes: float, verb: str = OUTSIDE, reason: str = BY, *, n: int | None = 1, became: str = "off") -> Any:
    who = None if n is None else f"ps{n}"
    return HistoryEntry(ago(minutes=minutes), "training", who, "a", verb, reason, "observed", error=f"x -> {became}")


@pytest.mark.parametrize(
    ("lines", "fought", "turned"),
    [
        P([], {}, [], id="nothing happened"),
        P([line(50), line(40), line(30)], {"ps1": 3}, [30], id="turned three times in an hour"),
        P([line(50), line(40)], {}, [], id="twice"),
        P([line(90), line(40), line(30)], {}, [], id="the first is an hour ago and more"),
        P([line(50), line(40), line(30, n=2)], {}, [], id="not all of one machine"),
        P([line(50), line(40), line(35, became="gone"), line(30)], {}, [], id="it went in between"),
        P([line(50, reason=Culprit.UNKNOWN)], {}, [50], id="nobody knows who turned it"),
        P([line(50, "start", LATE_EFFECT)], {}, [50], id="a late effect of fleetd's"),
        P([line(50, "start", "short_of_target")], {}, [], id="a call of fleetd's"),
        P([line(50, n=None), line(49, reason=Culprit.UNKNOWN)], {}, [49], id="a line of no machine"),
        P([line(50, "stop", "x"), line(49, reason=Culprit.UNKNOWN)], {}, [49], id="and one behind a call"),
        P([line(m) for m in (50, 40, 30, 20)], {"ps1": 4}, [30, 20], id="each turn of a fight"),
    ],
)
def test_what_a_start_knows_of_machines_that_somebody_turned(
    lines: list[HistoryEntry], fought: dict[str, int], turned: list[float]
) -> None:
    async def story() -> None:
        told: list[Any] = []

        async def history(*, limit: int) -> list[tuple[int, HistoryEntry]]:
            assert limit > len(lines)
            return list(enumerate(lines, start=1))

        setbacks = SimpleNamespace(turned=lambda machine_id, at: told.append((machine_id, at)))
        recall: Any = SimpleNamespace(journal=SimpleNamespace(history=history), setbacks=setbacks)
        nothing: Any = SimpleNamespace()
        changes = ExternalChanges(recall, nothing, nothing)
        await changes.load()
        assert changes.fought_over(NOW) == fought
        assert changes.fought_over(NOW + timedelta(hours=1)) == {}
        assert told == [("ps1", ago(minutes=m)) for m in turned]

    run_virtual(story)


MINE, OTHER = token_name(1), token_name(2)


@pytest.mark.parametrize(
    ("answer", "known", "why"),
    [
        P(machine(1), {}, None, id="a new one"),
        P(machine(1, name=OTHER), {}, f"asked for {MINE}, answered with {OTHER}", id="another name"),
        P(machine(1), {"listed": [machine(1)]}, "ps1, which was there", id="one that the listing had"),
        P(machine(1), {"listed": [machine(2)]}, None, id="the listing had another"),
        P(machine(1), {"facts": [facts(1, name=OTHER)]}, "ps1, which was there", id="remembered by another name"),
        P(machine(1), {"facts": [facts(1)]}, None, id="a later pass has seen this very machine"),
        P(machine(1), {"open": [intent(Verb.STOP, 1, name=OTHER)]}, "ps1, which was there", id="moved just now"),
        P(machine(1), {"open": [intent(Verb.CREATE, 1)]}, None, id="a later pass has found it for this create"),
        P(machine(1), {"open": [intent(Verb.CREATE, None, name=OTHER)]}, None, id="another create waits"),
        P(machine(1), {"made": {"ps1"}}, "ps1, which was there", id="the answer to an earlier create"),
    ],
)
def test_a_creates_answer_names_a_machine_that_nobody_knew(
    answer: Any, known: dict[str, Any], why: str | None
) -> None:
    async def story() -> None:
        async def open_intents() -> list[Any]:
            return known.get("open", [])  # type: ignore[no-any-return]

        executor: Any = object.__new__(Executor)
        remembered = {f.machine_id: f for f in known.get("facts", [])}
        executor._recall = SimpleNamespace(journal=SimpleNamespace(open_intents=open_intents), facts=remembered)
        executor._made = set(known.get("made", ()))
        basis = SimpleNamespace(observation=seen(*known.get("listed", [])))
        if why is None:
            await executor._must_be_new(answer, MINE, basis)
            assert executor._made == {"ps1"}
            return
        with pytest.raises(Ambiguous) as caught:
            await executor._must_be_new(answer, MINE, basis)
        assert why in str(caught.value)
        assert executor._made == set(known.get("made", ()))

    run_virtual(story)
