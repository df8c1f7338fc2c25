"""What is remembered of a machine from the ending of a call to it, field by field."""

from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import pytest

from fleetd.engine.recall import Recall
from fleetd.model.journal import Intent, MachineFacts
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.ownership import UNSEEN
from tests.support.build import NOW, ago, facts, intent, later
from tests.support.virtual_time import run_virtual

P = pytest.param
WHY = "host is gone"
UP = {"up_since": ago(hours=1), "last_up_at": ago(hours=1), "first_ready_at": ago(days=1), "last_seen": ago(hours=1)}
OFF = {"last_state": "off", "failure": Outcome.TIMED_OUT, "failure_reason": "late", "last_seen": ago(hours=1)}
CAME_UP = {
    "started_by": "short_of_target",
    "started_at": NOW,
    "failure": None,
    "failure_reason": None,
    "up_since": NOW,
    "last_up_at": NOW,
    "first_ready_at": NOW,
    "last_state": "ready",
}
FAILED = {"failure": Outcome.FAILED_TO_START, "failure_reason": WHY, "last_state": "off", "up_since": None}
LATE = {"failure": Outcome.TIMED_OUT, "failure_reason": WHY}
ACCEPTED = {"accepted_at": ago(minutes=5)}
BUILT_OFF = {"parameters": {"startOnCreate": False}}


async def after(known: MachineFacts | None, ended: Intent, outcome: Outcome) -> tuple[Recall, list[Any]]:
    written: list[Any] = []

    async def put(rows: Any) -> None:
        written.extend(rows)

    async def forget(ids: Any) -> None:
        written.append(list(ids))

    journal: Any = SimpleNamespace(put_facts=put, forget_facts=forget)
    recall = Recall(journal, SimpleNamespace())  # type: ignore[arg-type]
    if known is not None:
        recall.facts["ps1"] = known
    await recall.ended(ended, outcome, WHY, NOW)
    return recall, written


@pytest.mark.parametrize(
    ("before", "verb", "fields_of", "outcome", "news"),
    [
        P(
            UP,
            Verb.DESTROY,
            {},
            Outcome.REACHED,
            {"destroyed": True, "up_since": None, "last_seen": NOW},
            id="destroyed",
        ),
        P(
            UP,
            Verb.STOP,
            {"reason": Reason.OVER_TARGET},
            Outcome.REACHED,
            {
                "stopped_by": "over_target",
                "stopped_at": NOW,
                "up_since": None,
                "last_up_at": NOW,
                "last_state": "off",
            },
            id="stopped",
        ),
        P(OFF, Verb.START, {}, Outcome.REACHED, CAME_UP, id="started"),
        P(OFF, Verb.RESTART, {}, Outcome.REACHED, CAME_UP, id="restarted"),
        P(OFF, Verb.CREATE, {}, Outcome.REACHED, CAME_UP, id="made"),
        P(
            OFF | {"first_ready_at": ago(days=2)},
            Verb.START,
            {},
            Outcome.REACHED,
            CAME_UP | {"first_ready_at": ago(days=2)},
            id="started again",
        ),
        P(
            {**OFF, "last_state": "provisioning"},
            Verb.CREATE,
            BUILT_OFF,
            Outcome.REACHED,
            {"failure": None, "failure_reason": None, "last_state": "off"},
            id="made, and not started",
        ),
        P(UP, Verb.STOP, {}, Outcome.GONE, {"gone_at": NOW, "up_since": None}, id="it went meanwhile"),
        P(UP, Verb.UPDATE, {}, Outcome.GONE, {"gone_at": NOW, "up_since": None}, id="while it was updated"),
        P(UP, Verb.START, {}, Outcome.FAILED_TO_START, FAILED, id="a start failed"),
        P(UP, Verb.CREATE, {}, Outcome.FAILED_TO_START, FAILED, id="a create failed"),
        P(OFF, Verb.START, ACCEPTED, Outcome.TIMED_OUT, LATE | {"last_state": "starting"}, id="a start is late"),
        P(UP, Verb.RESTART, ACCEPTED, Outcome.TIMED_OUT, LATE | {"last_state": "restarting"}, id="a restart is late"),
        P(OFF, Verb.START, {}, Outcome.TIMED_OUT, LATE, id="a start is late that was not accepted"),
        P(UP, Verb.STOP, ACCEPTED, Outcome.TIMED_OUT, LATE, id="a stop is late"),
        P(UP, Verb.DESTROY, ACCEPTED, Outcome.TIMED_OUT, LATE, id="a destroy is late"),
        P({"last_state": "new"}, Verb.CREATE, ACCEPTED, Outcome.TIMED_OUT, LATE, id="a create is late"),
        P(UP, Verb.UPDATE, ACCEPTED, Outcome.TIMED_OUT, {}, id="an update says nothing of its machine"),
        P(UP, Verb.UPDATE, {}, Outcome.REACHED, {}, id="nor does one that is done"),
        P(UP, Verb.STOP, {}, Outcome.NOT_SENT, {}, id="it was never sent"),
        P(UP, Verb.START, {}, Outcome.LOST, {}, id="nobody knows"),
    ],
)
def test_what_an_ending_says_of_its_machine(
    before: dict[str, Any], verb: Verb, fields_of: dict[str, Any], outcome: Outcome, news: dict[str, Any]
) -> None:
    async def story() -> None:
        known = facts(1, **before)
        recall, written = await after(known, intent(verb, 1, **fields_of), outcome)
        expected = replace(known, **news)
        assert {f.name: getattr(recall.facts["ps1"], f.name) for f in fields(expected)} == {
            f.name: getattr(expected, f.name) for f in fields(expected)
        }
        assert written == ([expected] if news else [])

    run_virtual(story)


@pytest.mark.parametrize(
    ("before", "outcome", "forgotten"),
    [
        P({"last_state": UNSEEN}, Outcome.LOST, True, id="nobody has ever seen it: there is none"),
        P({"last_state": UNSEEN}, Outcome.NOT_SENT, False, id="another ending"),
        P({}, Outcome.LOST, False, id="it was seen"),
        P(None, Outcome.REACHED, False, id="nothing is remembered of it"),
    ],
)
def test_what_was_never_seen_is_forgotten_with_its_create(
    before: dict[str, Any] | None, outcome: Outcome, forgotten: bool
) -> None:
    async def story() -> None:
        recall, written = await after(None if before is None else facts(1, **before), intent(Verb.CREATE, 1), outcome)
        assert written == ([["ps1"]] if forgotten else [])
        assert ("ps1" in recall.facts) is (before is not None and not forgotten)

    run_virtual(story)


@pytest.mark.parametrize(
    ("stopped", "respected"),
    [
        P({}, [], id="none was"),
        P({"stopped_at": ago(hours=1)}, [], id="an hour ago"),
        P({"stopped_at": NOW}, [], id="right at the latest"),
        P({"stopped_at": later(seconds=1)}, ["ps1"], id="later than both clocks"),
    ],
)
def test_a_stop_that_lies_ahead_of_both_clocks_counts_from_now(stopped: dict[str, Any], respected: list[str]) -> None:
    async def story() -> None:
        writes: list[list[MachineFacts]] = []

        async def put(rows: Any) -> None:
            writes.append(list(rows))

        journal: Any = SimpleNamespace(put_facts=put)
        recall = Recall(journal, SimpleNamespace())  # type: ignore[arg-type]
        recall.facts = {"ps1": facts(1, **stopped), "ps2": facts(2)}
        await recall.respect_anew(NOW)
        assert [[f.machine_id for f in rows] for rows in writes] == ([respected] if respected else [])
        assert recall.facts["ps1"].stopped_at == (NOW if respected else stopped.get("stopped_at"))

    run_virtual(story)
