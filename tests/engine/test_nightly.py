"""A window that closes is written down: what was parked in it, what was not, and why."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.engine.nightly import NAMED, Nightly
from fleetd.model.journal import HistoryEntry
from fleetd.model.plan import Skip
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.words.reasons import SENTENCES
from tests.support.build import NOW

P = pytest.param
OPEN, CLOSED, OTHER = ("night", True), (None, False), ("weekend", True)


def busy(n: int, fleet: str = "training", verb: Verb = Verb.STOP) -> Skip:
    return Skip(fleet, verb, Reason.BUSY, f"ps{n}", f"a-{n}")


@pytest.mark.parametrize(
    ("passes", "told"),
    [
        P([OPEN], [], id="open still"),
        P([CLOSED, CLOSED], [], id="none was open"),
        P([OPEN, CLOSED], ["night"], id="it closed"),
        P([OPEN, OPEN, CLOSED, CLOSED], ["night"], id="told once"),
        P([OPEN, OTHER], ["night"], id="another opened"),
        P([OPEN, OTHER, CLOSED], ["night", "weekend"], id="and closed"),
        P([OPEN, ("night", False)], ["night"], id="it parks no more"),
        P([("night", False), CLOSED], [], id="it never parked"),
        P([OPEN, None, CLOSED], ["night"], id="a pass that could not see"),
        P([OPEN, "gone", CLOSED], [], id="its fleet left the config"),
        P([(None, True), CLOSED], [], id="parked, and by no window"),
    ],
)
async def test_a_window_is_told_once_when_it_has_closed(passes: list[Any], told: list[str]) -> None:
    entries: list[HistoryEntry] = []

    async def append(entry: HistoryEntry) -> None:
        entries.append(entry)

    journal: Any = SimpleNamespace(append_history=append)
    nightly = Nightly(journal)
    for state in passes:
        window, parked = state if isinstance(state, tuple) else (None, False)
        view = SimpleNamespace(window=window, parked=parked, up=1, down=2)
        fleets = {} if state == "gone" else {"training": view}
        plan: Any = SimpleNamespace(complete=state is not None, fleets=fleets, at=NOW)
        await nightly.passed(plan, [busy(1), busy(2, "other"), busy(3, verb=Verb.START)] if parked else [])
    assert [e.name for e in entries] == told
    for entry in entries:
        assert (entry.ts, entry.fleet, entry.machine, entry.verb) == (NOW, "training", None, "window")
        assert (entry.reason, entry.outcome) == (Reason.WINDOW_PARKED, Outcome.OBSERVED)
        assert (entry.evidence or "").startswith("closed with 2 off and 1 up; not parked: a-1: ")
        assert "a-2" not in (entry.evidence or "")
        assert "a-3" not in (entry.evidence or "")


@pytest.mark.parametrize("count", [0, 1, NAMED, NAMED + 1, NAMED + 5])
async def test_a_few_are_named_and_the_others_counted(count: int) -> None:
    entries: list[HistoryEntry] = []

    async def append(entry: HistoryEntry) -> None:
        entries.append(entry)

    journal: Any = SimpleNamespace(append_history=append)
    nightly = Nightly(journal)
    for parked in (True, False):
        view = SimpleNamespace(window="night" if parked else None, parked=parked, up=count, down=0)
        plan: Any = SimpleNamespace(complete=True, fleets={"training": view}, at=NOW)
        await nightly.passed(plan, [busy(n) for n in range(count)])
    words = entries[0].evidence or ""
    assert words.count("a-") == min(count, NAMED)
    assert (f"and {count - NAMED} more" in words) is (count > NAMED)
    assert ("not parked" in words) is (count > 0)


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        P("", f"a-1: {SENTENCES[Reason.BUSY]}", id="the reason alone"),
        P("gpu 90 %.", f"a-1: {SENTENCES[Reason.BUSY]} (gpu 90 %)", id="and what it is known by"),
    ],
)
async def test_why_a_machine_was_not_parked(detail: str, words: str) -> None:
    entries: list[HistoryEntry] = []

    async def append(entry: HistoryEntry) -> None:
        entries.append(entry)

    journal: Any = SimpleNamespace(append_history=append)
    nightly = Nightly(journal)
    for parked in (True, False):
        view = SimpleNamespace(window="night" if parked else None, parked=parked, up=1, down=3)
        plan: Any = SimpleNamespace(complete=True, fleets={"training": view}, at=NOW)
        with capture_logs() as logs:
            await nightly.passed(plan, [replace(busy(1), detail=detail)])
    assert [e.evidence for e in entries] == [f"closed with 3 off and 1 up; not parked: {words}"]
    assert logs == [
        {
            "event": "window.was_closed",
            "log_level": "info",
            "fleet": "training",
            "window": "night",
            "up": 1,
            "down": 3,
        }
    ]
