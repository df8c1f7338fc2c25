"""What a start takes from history of who turned machines; and what a create's answer may not name."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.engine.executor import Executor
from fleetd.engine.external_changes import LATE_EFFECT, ExternalChanges
from fleetd.model.errors import Ambiguous
from fleetd.model.journal import OUTSIDE, HistoryEntry
from fleetd.model.machine import Machine
from fleetd.model.reasons import Outcome, Verb
from fleetd.planner.attribution import Culprit
from fleetd.planner.facts import OutsideChange
from tests.support.build import NOW, ago, event, facts, intent, later, machine, seen, token_name
from tests.support.virtual_time import run_virtual, virtual

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
        P([line(50, n=None, reason=Culprit.UNKNOWN)], {}, [], id="a line of no machine, whoever did it"),
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


class World:
    """What a change of somebody's is reported to; notes what it is told."""

    def __init__(self, late: Verb | None = None, *, known: bool = True) -> None:
        self.is_late, self.known = late, known
        self.told: list[Any] = []
        self.entries: list[HistoryEntry] = []
        self.facts = {"ps1": facts(1, last_state="ready")} if known else {}
        self.journal = self.setbacks = self
        self.back: Any = SimpleNamespace(until=later(minutes=5))

    async def late(self, machine: Machine, at: datetime) -> Verb | None:
        self.told.append(("late?", machine.id, at))
        return self.is_late

    async def undone(self, machine_id: str, *, up: bool, now: datetime) -> Any:
        self.told.append(("undone", machine_id, up, now))
        return self.back

    async def vanished(self, machine_id: str, now: datetime) -> Any:
        self.told.append(("vanished", machine_id, now))
        return self.back

    async def put(self, rows: list[Any]) -> None:
        self.told += [("facts", row.machine_id, row.stopped_by, row.stopped_at, row.started_by) for row in rows]

    async def append_history(self, entry: HistoryEntry) -> None:
        self.entries.append(entry)

    def saw(self, where: str, error: Exception) -> None:
        self.told.append((where, str(error)))

    def changes(self) -> ExternalChanges:
        me: Any = self
        agreement: Any = SimpleNamespace(latest=lambda: later(hours=1))
        return ExternalChanges(me, me, agreement)


def became(state: str | None, *events: Any, ours: bool = False) -> OutsideChange:
    box = None if state is None else machine(1, state, events=events)
    return OutsideChange(box, facts(1, last_state="ready"), state or "gone", ours)


def came_back(state: str, *events: Any, turned: bool = False) -> OutsideChange:
    box = machine(1, state, events=events)
    return OutsideChange(box, facts(1, last_state="ready", gone_at=NOW), state, back=not turned)


STOPPED, STARTED = event("stop"), event("start")
ASKED = ("late?", "ps1", NOW)


def stopped_by(who: str) -> Any:
    return ("facts", "ps1", who, later(hours=1), None)


KEPT = ("facts", "ps1", None, None, None)


@pytest.mark.parametrize(
    ("change", "late", "who", "told"),
    [
        P(became("off", STOPPED), None, "operator", [ASKED, stopped_by("operator")], id="a person stops"),
        P(
            became("ready", STARTED),
            None,
            "operator",
            [ASKED, ("facts", "ps1", None, None, "operator")],
            id="a person starts",
        ),
        P(
            became("off"),
            None,
            "unknown",
            [ASKED, ("undone", "ps1", False, NOW), stopped_by("unknown")],
            id="nobody knows who stopped it",
        ),
        P(
            became("starting"),
            None,
            "unknown",
            [ASKED, ("undone", "ps1", True, NOW), ("facts", "ps1", None, None, "unknown")],
            id="nor who starts it",
        ),
        P(
            became("ready"),
            None,
            "unknown",
            [ASKED, ("undone", "ps1", True, NOW), ("facts", "ps1", None, None, "unknown")],
            id="nor who started it",
        ),
        P(
            became("off", event("start", "error", error="sold out")),
            None,
            "failed_start",
            [ASKED, ("undone", "ps1", False, NOW), stopped_by("failed_start")],
            id="a start that failed",
        ),
        P(became("off", event("vm-shutdown-force")), None, "vendor_timeout", [ASKED, stopped_by("vendor_timeout")]),
        P(became("no such state"), None, "unknown", [KEPT], id="a state that says nothing"),
        P(became(None), None, "unknown", [("vanished", "ps1", NOW), KEPT], id="it is gone"),
        P(came_back("ready", STARTED), None, "unknown", [], id="it is back as it was: nobody turned it"),
        P(
            came_back("off", STOPPED, turned=True),
            None,
            "operator",
            [ASKED, stopped_by("operator")],
            id="it is back, and a person stopped it meanwhile",
        ),
        P(became("off", STOPPED), Verb.STOP, "fleetd", [ASKED, stopped_by("fleetd")], id="a late stop of ours"),
        P(became(None, ours=True), Verb.DESTROY, "fleetd", [KEPT], id="a late destroy of ours"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
@virtual
async def test_a_change_is_told_to_all_who_follow_from_it(
    change: OutsideChange, late: Verb | None, who: str, told: list[Any], known: bool
) -> None:
    world = World(late, known=known)
    with capture_logs() as logs:
        await world.changes().report(change, NOW)
    assert world.told == [row for row in told if known or row[0] != "facts"]
    keys = {"fleet": "training", "machine": "ps1", "name": token_name(1), "was": change.was, "became": change.became}
    assert change.was == ("gone" if change.facts.gone_at else "ready")
    if late is None:
        said = {"event": "machine.changed_outside", "log_level": "warning", "reason": who}
    else:
        said = {"event": "machine.changed_late", "log_level": "info", "action": str(late)}
    assert logs == [said | keys]
    assert world.entries == [
        HistoryEntry(
            ts=NOW,
            fleet="training",
            machine="ps1",
            name=token_name(1),
            verb=late or OUTSIDE,
            reason=LATE_EFFECT if late else who,
            outcome=Outcome.REACHED if late else Outcome.OBSERVED,
            error=f"{change.was} -> {change.became}",
            actor="fleetd" if late else "outside",
        )
    ]


@virtual
async def test_what_cannot_be_judged_has_changed_all_the_same() -> None:
    world = World()
    odd: Any = (SimpleNamespace(name=None),)
    with capture_logs() as logs:
        await world.changes().report(became("off", *odd), NOW)
    (where, error), *rest = world.told
    assert (where, "startswith" in error) == ("machine", True)
    assert rest == [ASKED, ("undone", "ps1", False, NOW), stopped_by("unknown")]
    assert (logs[0]["event"], logs[0]["reason"]) == ("machine.changed_outside", "unknown")


@pytest.mark.parametrize(
    ("turns", "fought"),
    [
        P([(0, "off"), (10, "ready")], [], id="twice"),
        P([(0, "off"), (10, "ready"), (20, "off")], [(3, "off")], id="three times"),
        P([(0, "ready"), (10, "off"), (20, "starting"), (30, "off")], [(3, "starting"), (4, "off")], id="each more"),
        P([(0, "ready"), (60, "off"), (70, "ready")], [], id="the first is an hour ago"),
        P([(0, "off"), (10, "ready"), (15, None), (20, "off")], [], id="it went in between"),
        P([(0, "off"), (10, "ready"), (20, "timer")], [], id="the vendor's timer is nobody"),
    ],
)
@pytest.mark.parametrize("waits", [True, False])
@virtual
async def test_a_machine_that_is_turned_again_and_again(turns: list[Any], fought: list[Any], waits: bool) -> None:
    world = World()
    if not waits:
        world.back = None
    changes = world.changes()
    with capture_logs() as logs:
        for minutes, state in turns:
            by = {"off": STOPPED, "timer": event("vm-shutdown-force")}.get(state, STARTED)
            await changes.report(became("off" if state == "timer" else state, by), later(minutes=minutes))
    assert [line for line in logs if line["event"] == "machine.was_fought_over"] == [
        {
            "event": "machine.was_fought_over",
            "log_level": "error",
            "fleet": "training",
            "machine": "ps1",
            "name": token_name(1),
            "became": state,
            "count": count,
            "until": later(minutes=5).isoformat() if waits else None,
        }
        for count, state in fought
    ]
    ups = [up for what, *rest in world.told if what == "undone" for up in rest[1:2]]
    assert ups == [state != "off" for _, state in fought]
    counts = [count for count, _ in fought]
    assert changes.fought_over(later(minutes=turns[-1][0])) == dict.fromkeys(
        ["ps1"][: len(counts)], max(counts, default=0)
    )


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
