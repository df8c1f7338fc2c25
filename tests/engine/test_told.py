"""What is said of a transition's end, and whether the daemon is ready."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.engine.follower import Follower
from fleetd.engine.handle import EngineHandle
from fleetd.model.journal import Intent
from fleetd.model.plan import Observation
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.transitions import Ending
from tests.support.build import NOW, intent

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
