from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fleetd.model.machine import MachineEvent
from fleetd.planner.attribution import TIMER_SLACK, Culprit, classify, remember
from fleetd.planner.leaving import LEAVING
from tests.support.build import NOW, ago, facts, machine


def happened(name: str, hours: float, state: str = "done") -> MachineEvent:
    return MachineEvent(
        name, state, handle=f"{name}{hours}", created_at=ago(hours=hours), finished_at=ago(hours=hours)
    )


@pytest.mark.parametrize(
    ("state", "events", "timeout", "culprit"),
    [
        pytest.param("off", (happened("stop", 0), happened("start", 5)), 24, Culprit.OPERATOR, id="console stop"),
        pytest.param("stopping", (happened("stop", 0), happened("start", 5)), None, Culprit.OPERATOR, id="no timer"),
        pytest.param("off", (happened("stop", 0), happened("start", 24.1)), 24, Culprit.VENDOR_TIMEOUT, id="timer"),
        pytest.param("off", (happened("stop", 0), happened("create", 24)), 24, Culprit.VENDOR_TIMEOUT, id="1st life"),
        pytest.param("off", (happened("stop", 0), happened("start", 23)), 24, Culprit.OPERATOR, id="an hour early"),
        pytest.param("off", (happened("vm-shutdown-force", 0),), None, Culprit.VENDOR_TIMEOUT, id="v1's timer"),
        pytest.param("off", (happened("start", 0, "error"),), 24, Culprit.FAILED_START, id="failed start"),
        pytest.param("off", (happened("start", 5),), 24, Culprit.UNKNOWN, id="no event tells"),
        pytest.param("off", (), 24, Culprit.UNKNOWN, id="no events"),
        pytest.param("off", None, 24, Culprit.UNKNOWN, id="not looked at"),
        pytest.param("starting", (happened("start", 0),), 24, Culprit.OPERATOR, id="console start"),
        pytest.param("ready", (happened("restart", 0),), 24, Culprit.OPERATOR, id="console restart"),
        pytest.param("ready", (happened("stop", 0),), 24, Culprit.UNKNOWN, id="contradiction"),
        pytest.param(
            "off",
            (happened("snapshot-create", 0), happened("stop", 0.1), happened("start", 5)),
            24,
            Culprit.OPERATOR,
            id="a snapshot since",
        ),
        pytest.param("off", (happened("snapshot-create", 0),), 24, Culprit.UNKNOWN, id="nothing but a snapshot"),
        pytest.param("off", (happened("stop", 0), happened("start", 0.1)), 0, Culprit.OPERATOR, id="told: no timer"),
        pytest.param("off", (happened("destroy", 0),), 24, Culprit.OPERATOR, id="destroyed"),
        pytest.param("off", (happened("terminate", 0),), 24, Culprit.OPERATOR, id="destroyed by another word"),
        pytest.param("off", (happened("destroy", 0, "error"),), 24, Culprit.UNKNOWN, id="a destroy that failed"),
    ],
)
def test_who_did_it(state, events, timeout, culprit) -> None:
    box = machine(1, state, events=events, shutdown_timeout_hours=timeout)
    assert classify(box, facts(1, up_since=ago(hours=100))) is culprit


def test_nobody_knows_who_destroyed_a_machine() -> None:
    assert classify(None, facts(1)) is Culprit.UNKNOWN
    assert remember(facts(1), None, Culprit.UNKNOWN, NOW, NOW) == facts(1)


@pytest.mark.parametrize("word", ["operator", "vendor_timeout", "failed_start", "fleetd", "unknown"])
def test_the_words_for_who_did_it_stay_as_the_journal_has_them(word: str) -> None:
    assert remember(facts(1), machine(1, "off"), Culprit(word), NOW, NOW).stopped_by == word


def test_who_did_it_is_remembered() -> None:
    latest = NOW + timedelta(hours=5)
    stopped = remember(facts(1), machine(1, "off"), Culprit.OPERATOR, NOW, latest)
    assert (stopped.stopped_by, stopped.stopped_at) == ("operator", latest), "respected from the later clock on"
    started = remember(facts(1), machine(1, "starting"), Culprit.OPERATOR, NOW, latest)
    assert (started.started_by, started.started_at) == ("operator", NOW)


HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


@pytest.mark.parametrize(
    ("off_by", "culprit"),
    [
        (timedelta(0), Culprit.VENDOR_TIMEOUT),
        (TIMER_SLACK, Culprit.VENDOR_TIMEOUT),
        (-TIMER_SLACK, Culprit.VENDOR_TIMEOUT),
        (TIMER_SLACK + SECOND, Culprit.OPERATOR),
        (-TIMER_SLACK - SECOND, Culprit.OPERATOR),
    ],
)
@pytest.mark.parametrize("known", ["finished_at", "created_at", "up_since"])
def test_a_stop_is_the_timers_where_it_lies_about_its_time_after_the_start(
    off_by: timedelta, culprit: Culprit, known: str
) -> None:
    """Counted from the end of the start; from its beginning, or from when it was seen up, where that is not known."""
    started = NOW - 24 * HOUR - off_by
    stop = MachineEvent("stop", "done", handle="h2", created_at=NOW, finished_at=NOW + HOUR)
    start = {
        "finished_at": MachineEvent("start", "done", handle="h1", created_at=started - HOUR, finished_at=started),
        "created_at": MachineEvent("start", "done", handle="h1", created_at=started),
        "up_since": MachineEvent("snapshot-create", "done", handle="h1", created_at=started),
    }[known]
    older = MachineEvent("start", "done", handle="h0", created_at=started - 9 * HOUR, finished_at=started - 9 * HOUR)
    events = (stop, start) if known == "up_since" else (stop, start, older)
    box = machine(1, "off", events=events, shutdown_timeout_hours=24)
    assert classify(box, facts(1, up_since=started if known == "up_since" else NOW - 3 * HOUR)) is culprit


@pytest.mark.parametrize(
    ("stop", "before"),
    [
        pytest.param(MachineEvent("stop", "done"), {"up_since": NOW - 24 * HOUR}, id="nobody knows when it stopped"),
        pytest.param(happened("stop", 0), {"up_since": None}, id="nobody knows when it started"),
    ],
)
def test_on_doubt_between_the_timer_and_a_person_it_is_a_person(stop: MachineEvent, before: dict[str, Any]) -> None:
    box = machine(1, "off", events=(stop,), shutdown_timeout_hours=24)
    assert classify(box, facts(1, **before)) is Culprit.OPERATOR


@pytest.mark.parametrize(
    ("state", "culprit"),
    [
        ("off", Culprit.OPERATOR),
        ("stopping", Culprit.OPERATOR),
        ("ready", Culprit.UNKNOWN),
        ("starting", Culprit.UNKNOWN),
        ("odd", Culprit.UNKNOWN),
    ],
)
def test_a_stop_of_a_machine_whose_events_cannot_be_read_is_a_persons(state: str, culprit: Culprit) -> None:
    assert classify(machine(1, state, not_looked="no route"), facts(1)) is culprit


@pytest.mark.parametrize(
    ("state", "event", "culprit"),
    [
        ("ready", happened("start", 0), Culprit.OPERATOR),
        ("starting", happened("restart", 0), Culprit.OPERATOR),
        ("ready", happened("create", 0), Culprit.UNKNOWN),
        ("odd", happened("start", 0), Culprit.UNKNOWN),
        ("off", happened("restart", 0, "error"), Culprit.FAILED_START),
        ("off", happened("stop", 0, "error"), Culprit.OPERATOR),
        ("off", (happened("template-create", 0), happened("stop", 1)), Culprit.OPERATOR),
        ("ready", (happened("snapshot-create", 0), happened("start", 1)), Culprit.OPERATOR),
        ("ready", happened("template-create", 0), Culprit.UNKNOWN),
    ],
)
def test_who_started_it(state: str, event: Any, culprit: Culprit) -> None:
    events = event if isinstance(event, tuple) else (event,)
    assert classify(machine(1, state, events=events), facts(1)) is culprit


@pytest.mark.parametrize(
    ("state", "last_state", "what"),
    [
        ("off", "ready", "stopped"),
        ("stopping", "ready", "stopped"),
        ("ready", "off", "started"),
        ("starting", "off", "started"),
        ("odd", "ready", None),
        ("ready", LEAVING, None),
        ("off", LEAVING, None),
    ],
)
def test_what_is_remembered_of_who_did_it(state: str, last_state: str, what: str | None) -> None:
    before, latest = facts(1, last_state=last_state), NOW + HOUR
    after = remember(before, machine(1, state), Culprit.VENDOR_TIMEOUT, NOW, latest)
    found = (after.stopped_by, after.stopped_at, after.started_by, after.started_at)
    assert (
        found
        == {
            "stopped": ("vendor_timeout", latest, None, None),
            "started": (None, None, "vendor_timeout", NOW),
            None: (None,) * 4,
        }[what]
    )
