"""What becomes of a call that failed, by how: what is remembered, said and answered, field by field."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.engine.departures import DECLINED
from fleetd.engine.failures import Failures
from fleetd.engine.recall import Recall
from fleetd.model.errors import Ambiguous, Busy, CloudError, NotFound, RateLimited, Refused, Unavailable
from fleetd.model.plan import Skip
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.transitions import next_backoff
from tests.support.build import NOW, fleet, intent, token_name
from tests.support.virtual_time import run_virtual

P = pytest.param
FIRST = NOW + next_backoff(1)
HOUR = NOW + timedelta(hours=1)


def slow(error: Ambiguous, seconds: float) -> Ambiguous:
    error.retry_after = seconds
    return error


class World:
    """A journal that takes everything, and tells what it took."""

    def __init__(self) -> None:
        self.verdicts: list[tuple[int, Outcome, str | None]] = []
        self.doubted: list[int] = []
        self.followed: list[Any] = []
        self.notes: dict[str, str] = {}
        journal: Any = SimpleNamespace(put_note=self._note, update_intent=self._doubt)
        self.recall = Recall(journal, SimpleNamespace())  # type: ignore[arg-type]
        self.recall.verdicts = SimpleNamespace(give=self._give)  # type: ignore[assignment]
        follower: Any = SimpleNamespace(follow=self.followed.append)
        self.failures = Failures(self.recall, follower, SimpleNamespace(now=lambda: NOW))  # type: ignore[arg-type]

    async def _note(self, key: str, value: str) -> None:
        self.notes[key] = value

    async def _doubt(self, number: int, **fields: Any) -> None:
        assert fields == {"ambiguous_since": NOW}
        self.doubted.append(number)

    async def _give(self, one: Any, outcome: Outcome, error: str | None, at: Any) -> bool:
        assert at == NOW
        self.verdicts.append((one.id, outcome, error))
        return True


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.DESTROY, Verb.START])
@pytest.mark.parametrize(
    ("error", "reason", "until", "verdict", "event"),
    [
        P(Refused("no such plan"), Reason.REFUSED_RECENTLY, FIRST, Outcome.REFUSED, "action_refused", id="refused"),
        P(
            RateLimited("slow down"), Reason.RATE_LIMITED, FIRST, Outcome.NOT_SENT, "action_failed",
            id="too many requests",
        ),
        P(
            Unavailable("busy", retry_after=3600), Reason.RATE_LIMITED, HOUR, Outcome.NOT_SENT, "action_failed",
            id="it says when",
        ),
        P(
            Unavailable("no route"), Reason.PROVIDER_FAILING, None, Outcome.NOT_SENT, "action_failed",
            id="not reached",
        ),
        P(Busy("in transition"), Reason.REFUSED_RECENTLY, FIRST, Outcome.NOT_SENT, "action_failed", id="busy"),
    ],
)  # fmt: skip
def test_a_call_that_did_nothing(
    verb: Verb, error: CloudError, reason: Reason, until: Any, verdict: Outcome, event: str
) -> None:
    async def story() -> None:
        world, one = World(), intent(verb, 1, id=7, reason=Reason.OVER_TARGET)
        with capture_logs() as logs:
            found = await world.failures.sort_out(one, error, fleet())
        assert found == Skip("training", verb, reason, "ps1", token_name(1), until=until, detail=str(error))
        assert world.verdicts == [(7, verdict, str(error))]
        expected = one.log_keys | {"event": f"machine.{event}", "error": str(error)}
        (line,) = logs
        assert {k: v for k, v in line.items() if k not in {"log_level", "until"}} == expected
        assert line.get("until") == (None if until is None else until.isoformat())
        assert line["log_level"] == ("error" if verdict is Outcome.REFUSED else "warning")
        refusals = world.recall._refusals
        assert [(b.until, b.words, b.why) for b in refusals.values()] == (
            [] if until is None else [(until, str(error), reason)]
        )
        leaves = verb is not Verb.START and until is not None
        assert {m: d.lasts for m, d in world.recall.departures.known(NOW).items()} == (
            {"ps1": DECLINED} if leaves else {}
        )
        assert world.followed == world.doubted == []

    run_virtual(story)


@pytest.mark.parametrize(("verb", "nothing"), [(Verb.STOP, True), (Verb.DESTROY, False)])
def test_one_that_is_not_found_is_left_alone_unless_it_was_to_go(verb: Verb, nothing: bool) -> None:
    async def story() -> None:
        world, one = World(), intent(verb, 1, id=7)
        found = await world.failures.sort_out(one, NotFound("unknown id"), fleet())
        assert found.reason is (Reason.REFUSED_RECENTLY if nothing else Reason.CALL_UNSETTLED)
        assert found.until == (FIRST if nothing else None)
        assert world.verdicts == ([(7, Outcome.NOT_SENT, "unknown id")] if nothing else [])
        assert world.doubted == ([] if nothing else [7])

    run_virtual(story)


@pytest.mark.parametrize(
    ("verb", "asked", "reason", "limited", "waits"),
    [
        P(Verb.STOP, None, Reason.CALL_UNSETTLED, None, None, id="a stop"),
        P(Verb.STOP, 3600, Reason.CALL_UNSETTLED, HOUR, None, id="a stop, and it says when"),
        P(Verb.CREATE, None, Reason.CREATE_UNSETTLED, None, None, id="a create"),
        P(Verb.CREATE, 3600, Reason.CREATE_UNSETTLED, None, HOUR, id="a create: all creates wait"),
        P(Verb.UPDATE, None, Reason.CALL_UNSETTLED, None, None, id="an update may be repeated"),
    ],
)
def test_a_call_whose_answer_is_lost(
    verb: Verb, asked: float | None, reason: Reason, limited: Any, waits: Any
) -> None:
    async def story() -> None:
        world, one = World(), intent(verb, None if verb is Verb.CREATE else 1, id=7)
        error = Ambiguous("connection reset") if asked is None else slow(Ambiguous("connection reset"), asked)
        with capture_logs() as logs:
            found = await world.failures.sort_out(one, error, fleet())
        assert (found.reason, found.verb, found.detail) == (reason, verb, "connection reset")
        assert [line["event"] for line in logs] == ["machine.answer_lost"]
        assert one.log_keys.items() <= logs[0].items()
        assert (logs[0]["error"], logs[0]["log_level"]) == ("connection reset", "warning")
        assert world.doubted == [7]
        assert [b.until for b in world.recall._refusals.values()] == ([] if limited is None else [limited])
        assert all(b.why is Reason.RATE_LIMITED for b in world.recall._refusals.values())
        wait = world.recall.creates_wait(NOW)
        assert wait == (None if waits is None else (waits, "connection reset"))
        repeats = verb is Verb.UPDATE
        assert world.followed == ([] if repeats else [replace(one, ambiguous_since=NOW)])
        assert world.verdicts == ([(7, Outcome.LOST, "connection reset")] if repeats else [])
        backs = world.recall.setbacks.known(NOW).values()
        assert [(b.attempt, b.until, b.words) for b in backs] == ([(0, NOW, "connection reset")] if repeats else [])

    run_virtual(story)
