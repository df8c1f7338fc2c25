"""Whether the provider answers: each change is said once, with how long it lasted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from fleetd.cloud.retry import LONGEST_RETRY_AFTER
from fleetd.engine.health import Health
from fleetd.model.errors import CloudError, NotFound, RateLimited, RetryLater, Unauthorized, Unavailable
from tests.support.build import NOW, later

GONE = Unavailable("no answer", operation="list", status=503)
KEY = Unauthorized("no such key", operation="list", status=401)
WORKED = "worked"
P = pytest.param


@pytest.mark.parametrize(
    ("passes", "told"),
    [
        P([WORKED, WORKED], [], id="always well"),
        P([GONE], ["unavailable"], id="gone"),
        P([GONE, GONE, RateLimited("slow down")], ["unavailable"], id="said once, whatever the words"),
        P([GONE, WORKED], ["unavailable", "recovered 10"], id="gone and back"),
        P([GONE, GONE, GONE, WORKED, WORKED], ["unavailable", "recovered 30"], id="from its first failure"),
        P([KEY, WORKED], ["key_refused", "recovered 10"], id="another key"),
        P([GONE, KEY, WORKED], ["unavailable", "key_refused", "recovered 20"], id="gone, then refused: one trouble"),
        P([GONE, KEY, GONE], ["unavailable", "key_refused", "unavailable"], id="and gone again"),
        P([GONE, WORKED, GONE, GONE, WORKED], ["unavailable", "recovered 10"] * 1 + ["unavailable", "recovered 20"]),
    ],
)
def test_what_is_said_of_the_provider(passes: list[object], told: list[str]) -> None:
    """Ten seconds a pass."""
    health = Health()
    with capture_logs() as logs:
        for n, one in enumerate(passes):
            if isinstance(one, CloudError):
                health.failed(one, later(seconds=10 * n))
            else:
                health.worked(later(seconds=10 * n))
    said = [
        line["event"].removeprefix("provider.") + (f" {line['duration_s']:g}" if "duration_s" in line else "")
        for line in logs
    ]
    assert said == told


@pytest.mark.parametrize(
    ("error", "word", "event"),
    [
        (KEY, "key_refused", "provider.key_refused"),
        (GONE, "unavailable", "provider.unavailable"),
        (NotFound("gone", operation="list", status=404), "unavailable", "provider.unavailable"),
    ],
)
def test_how_it_stands_and_the_line_that_says_so(error: CloudError, word: str, event: str) -> None:
    health = Health()
    assert (health.word, health.failing_since, health.failing_for(NOW)) == ("ok", None, timedelta(0))
    with capture_logs() as logs:
        health.failed(error, NOW)
    assert health.word == word
    assert health.last_error is error
    assert health.failing_for(later(seconds=30)) == timedelta(seconds=30)
    assert health.failing_for(later(seconds=-30)) == timedelta(0), "a clock that was set back"
    (line,) = logs
    assert line == {
        "event": event, "log_level": "error", "error": str(error), "operation": "list", "status": error.status,
        "retry_after_s": None,
    }  # fmt: skip
    health.worked(later(seconds=40))
    assert (health.word, health.failing_since, health.last_error) == ("ok", None, None)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (None, 0),
        (KEY, 0),
        (GONE, 0),
        (RetryLater("x", retry_after=0.5), 0.5),
        (RateLimited("x", retry_after=-1), 0),
        (RateLimited("x", retry_after=LONGEST_RETRY_AFTER + 1), LONGEST_RETRY_AFTER),
    ],
)
def test_how_long_it_asks_to_be_left_alone(error: CloudError | None, seconds: float) -> None:
    health = Health()
    if error is not None:
        health.failed(error, NOW)
    assert health.retry_after == seconds
    health.worked(NOW)
    assert health.retry_after == 0
