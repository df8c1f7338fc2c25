"""A machine of which nobody knows anything is said once, and once when it is heard again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.silence import KNOWN_AGAIN, SILENT_AFTER, Silence
from fleetd.model.fleet import IdleRule
from fleetd.model.journal import IdleReport
from fleetd.model.reasons import Activity
from fleetd.planner.idle import Reading
from tests.support.build import NOW, fleet, machine, token_name
from tests.support.virtual_time import run_virtual

RULE = IdleRule(("gpu",), after=timedelta(minutes=30))
MINUTE = 60.0
P = pytest.param
U, I, A = Activity.UNKNOWN, Activity.IDLE, Activity.ACTIVE  # noqa: E741
LONG = [U] * (int(SILENT_AFTER // MINUTE) + 1)


@pytest.mark.parametrize(
    ("heard", "told"),
    [
        P([I, *LONG], ["went_silent"], id="known, then silent"),
        P([I, *LONG[:-1]], [], id="not long enough"),
        P([I, *LONG, U, U], ["went_silent"], id="said once"),
        P(LONG, [], id="a new one, of which nobody can know enough before"),
        P([*LONG, *[U] * 30], ["went_silent"], id="a new one, half an hour later"),
        P([I, *LONG, A], ["went_silent", "was_heard_again"], id="used: it is known"),
        P([I, *LONG, *[I] * KNOWN_AGAIN], ["went_silent", "was_heard_again"], id="idle often enough in a row"),
        P([I, *LONG, *[I] * (KNOWN_AGAIN - 1)], ["went_silent"], id="not often enough"),
        P([I, *LONG, *[I] * 8, U, *[I] * 8], ["went_silent"], id="nor in a row"),
        P([I, *LONG, *[I] * 8, None, I], ["went_silent"], id="off in between: it begins anew"),
        P([I, *LONG, None, *LONG], ["went_silent"], id="off in between: it is new"),
        P([I, *LONG[:-1], None, U, U], [], id="off in between: not silent for long"),
        P([I, *LONG, A, *LONG], ["went_silent", "was_heard_again", "went_silent"], id="each time"),
        P([I, *LONG, None, I, *LONG], ["went_silent", "went_silent"], id="off in between: said anew"),
        P([I, *LONG[:-2], I, U, U], ["went_silent"], id="one answer in between is no news"),
    ],
)
def test_when_a_machine_is_said_to_be_silent(heard: list[Activity | None], told: list[str]) -> None:
    async def story() -> None:
        silence, box = Silence(), machine(1)
        for verdict in heard:
            if verdict is None:
                silence.keep(set())
            else:
                report = silence.judged(fleet(), RULE, box, IdleReport(str(verdict), at=NOW, evidence="why"))
                assert report.verdict == verdict
                silence.keep({"ps1"})
            await anyio.sleep(MINUTE)

    with capture_logs() as logs:
        run_virtual(story)
    assert [line["event"].removeprefix("machine.") for line in logs] == told
    assert all((line["fleet"], line["machine"], line["name"]) == ("training", "ps1", token_name(1)) for line in logs)
    assert all(line["error"] == "why" for line in logs if line["event"] == "machine.went_silent")


def test_for_how_long_it_has_been_unknown() -> None:
    async def story() -> None:
        silence, box = Silence(), machine(1)
        found = []
        for verdict in (I, U, U, I, U, A, U):
            found.append(silence.judged(fleet(), RULE, box, IdleReport(str(verdict), at=NOW)).unknown_s)
            await anyio.sleep(MINUTE)
        assert found == [0, 0, 60, 120, 180, 0, 0]
        new = [silence.judged(fleet(), RULE, machine(2), IdleReport(str(U), at=NOW)).unknown_s]
        await anyio.sleep(RULE.after.total_seconds() + MINUTE)
        new.append(silence.judged(fleet(), RULE, machine(2), IdleReport(str(U), at=NOW)).unknown_s)
        assert new == [0, 60], "of a new one they begin later"

    run_virtual(story)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        P([(U, U)], ["went_silent"], id="it knows nothing of anybody"),
        P([(U, I)], [], id="it knows something of one"),
        P([(U, U), (U, U)], ["went_silent"], id="said once"),
        P([(U, U), (U, A)], ["went_silent", "recovered"], id="it is back"),
        P([(U, U), (I, I), (I, I), (U, U)], ["went_silent", "recovered", "went_silent"], id="each time"),
    ],
)
def test_when_a_source_is_said_to_be_silent(said: list[Any], told: list[str]) -> None:
    silence = Silence()
    with capture_logs() as logs:
        for verdicts in said:
            silence.heard(
                fleet(),
                {f"ps{n}": {"gpu": Reading("gpu", v, NOW, f"why {n}")} for n, v in enumerate(verdicts, start=1)},
            )
    assert [line["event"].removeprefix("idle_source.") for line in logs] == told
    assert all((line["fleet"], line["source"]) == ("training", "gpu") for line in logs)
    assert all(line["error"] == "why 1" for line in logs if line["event"] == "idle_source.went_silent")
