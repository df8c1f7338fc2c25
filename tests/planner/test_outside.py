from __future__ import annotations

from datetime import timedelta

import pytest

from fleetd.model.machine import MachineEvent
from fleetd.planner.attribution import Culprit, classify, remember
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


def test_who_did_it_is_remembered() -> None:
    latest = NOW + timedelta(hours=5)
    stopped = remember(facts(1), machine(1, "off"), Culprit.OPERATOR, NOW, latest)
    assert (stopped.stopped_by, stopped.stopped_at) == ("operator", latest), "respected from the later clock on"
    started = remember(facts(1), machine(1, "starting"), Culprit.OPERATOR, NOW, latest)
    assert (started.started_by, started.started_at) == ("operator", NOW)
