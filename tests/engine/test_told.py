"""What is said of the provider, of a transition's end and of the daemon's state, line by line."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.cloud.retry import LONGEST_RETRY_AFTER
from fleetd.engine.follower import Follower
from fleetd.engine.handle import EngineHandle
from fleetd.engine.health import Health
from fleetd.model.errors import CloudError, MalformedAnswer, Unauthorized, Unavailable
from fleetd.model.journal import Intent
from fleetd.model.plan import Observation
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.transitions import Ending
from tests.support.build import NOW, intent, later

P = pytest.param
WHY = "host is gone"


def an(verb: Verb, **fields: Any) -> Intent:
    return intent(verb, 1, id=7, reason=Reason.OVER_TARGET, **fields)


OFF = an(Verb.CREATE, parameters={"startOnCreate": False})
BAD = {"error": WHY}


@pytest.mark.parametrize(
    ("what", "outcome", "event", "level", "more", "counted"),
    [
        P(an(Verb.START), Outcome.REACHED, "machine.became_ready", "info", {}, True, id="started"),
        P(an(Verb.CREATE), Outcome.REACHED, "machine.became_ready", "info", {}, True, id="made"),
        P(OFF, Outcome.REACHED, "machine.became_off", "info", {}, True, id="made, and not started"),
        P(an(Verb.STOP), Outcome.REACHED, "machine.became_off", "info", {}, True, id="stopped"),
        P(an(Verb.DESTROY), Outcome.REACHED, "machine.became_gone", "info", {}, True, id="destroyed"),
        P(an(Verb.UPDATE), Outcome.REACHED, "machine.was_updated", "info", {}, False, id="updated: it moved nothing"),
        P(an(Verb.START), Outcome.FAILED_TO_START, "machine.start_failed", "error", BAD, False, id="a start failed"),
        P(an(Verb.STOP), Outcome.TIMED_OUT, "machine.transition_timed_out", "error", BAD, False, id="late"),
        P(
            an(Verb.STOP),
            Outcome.NO_EFFECT,
            "machine.transition_ended",
            "warning",
            {**BAD, "outcome": "no_effect"},
            False,
            id="nothing came of it",
        ),
    ],
)
def test_what_is_said_of_a_transitions_end(
    what: Intent, outcome: Outcome, event: str, level: str, more: dict[str, Any], counted: bool
) -> None:
    counts: list[Any] = []
    nothing: Any = SimpleNamespace()
    meter: Any = SimpleNamespace(transition=lambda *, verb, seconds: counts.append((verb, seconds)))
    follower = Follower(nothing, nothing, nothing, meter, nothing)
    with capture_logs() as logs:
        follower._report(what, Ending(outcome, WHY), timedelta(seconds=90.12345))
    keys = {"reason": "over_target", "duration_s": 90.123, "event": event, "log_level": level}
    assert logs == [what.log_keys | keys | more]
    assert counts == ([(what.verb, 90.12345)] if counted else [])


DOWN = Unavailable("no route", operation="list", status=503)
BUSY = Unavailable("busy", operation="list", status=503, retry_after=30.0004)
KEY = Unauthorized("Invalid API token", operation="list", status=401)
UNAVAILABLE, REFUSED = "provider.unavailable", "provider.key_refused"


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        P([None, None], [], id="it answers"),
        P([DOWN], [UNAVAILABLE], id="it does not"),
        P([DOWN, DOWN, BUSY], [UNAVAILABLE], id="said once"),
        P([KEY], [REFUSED], id="the key"),
        P([DOWN, KEY, DOWN], [UNAVAILABLE, REFUSED, UNAVAILABLE], id="each kind"),
        P([DOWN, None], [UNAVAILABLE, "provider.recovered"], id="it is back"),
        P([DOWN, None, None, DOWN], [UNAVAILABLE, "provider.recovered", UNAVAILABLE], id="each time"),
    ],
)
def test_when_the_provider_is_said_to_fail(seen: list[CloudError | None], told: list[str]) -> None:
    health = Health()
    with capture_logs() as logs:
        for minute, error in enumerate(seen):
            if error is None:
                health.worked(later(minutes=minute))
            else:
                health.failed(error, later(minutes=minute))
    assert [line["event"] for line in logs] == told
    for line in logs:
        if line["event"] == "provider.recovered":
            assert (line["duration_s"], line["log_level"]) == (60, "info")
        else:
            assert line["log_level"] == "error"
            assert (line["operation"], line["status"] in {401, 503}) == ("list", True)
    assert health.failing_since is None or seen[-1] is not None


@pytest.mark.parametrize(
    ("error", "word", "seconds", "said"),
    [
        P(None, "ok", 0, None, id="it answers"),
        P(DOWN, "unavailable", 0, None, id="it does not say when"),
        P(BUSY, "unavailable", 30.0004, 30.0, id="it says when"),
        P(Unavailable("x", retry_after=-5), "unavailable", 0, None, id="in the past"),
        P(Unavailable("x", retry_after=1e9), "unavailable", LONGEST_RETRY_AFTER, LONGEST_RETRY_AFTER, id="in years"),
        P(KEY, "key_refused", 0, None, id="the key"),
        P(MalformedAnswer("x"), "unavailable", 0, None, id="it talks nonsense"),
    ],
)
def test_for_how_long_the_provider_is_left_alone(
    error: CloudError | None, word: str, seconds: float, said: float | None
) -> None:
    health = Health()
    with capture_logs() as logs:
        if error is not None:
            health.failed(error, NOW)
            health.failed(error, later(minutes=3))
    assert (health.word, health.retry_after) == (word, seconds)
    assert [line["retry_after_s"] for line in logs] == ([] if error is None else [said])
    assert health.failing_for(later(minutes=5)) == timedelta(minutes=0 if error is None else 5)
    assert health.failing_for(NOW - timedelta(minutes=5)) == timedelta(0), "the clock was set back"


@pytest.mark.parametrize(
    ("ended", "error", "ready"),
    [
        P(None, None, "no pass has ended well yet", id="no pass"),
        P({}, None, None, id="one has"),
        P({}, "a fault", "a fault", id="and the next one failed"),
        P(
            {"rejected": "it shrank"},
            None,
            Observation(NOW, (), rejected="it shrank").undecided,
            id="nothing decided",
        ),
    ],
)
def test_whether_the_daemon_is_ready(ended: dict[str, Any] | None, error: str | None, ready: str | None) -> None:
    last = None if ended is None else SimpleNamespace(observation=Observation(NOW, (), **ended))
    handle = object.__new__(EngineHandle)
    handle._daemon = SimpleNamespace(reconciler=SimpleNamespace(last=last), last_error=error)  # type: ignore[assignment]
    assert handle.ready() == ready
