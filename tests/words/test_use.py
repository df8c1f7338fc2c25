"""Machines that nobody can tell anything of are said wherever a person looks: nothing of them is stopped as idle."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from fleetd.cli.explain import sentences_about, styles_of
from fleetd.cli.render_status import NO_PROBLEM
from fleetd.cli.report_filter import of_fleet, problems
from fleetd.model.report import MachineReport
from fleetd.ops.page.needs import needs
from fleetd.planner.idle import SILENT_AFTER
from fleetd.words.use import unheard
from tests.cli.test_cli_status import drawn
from tests.support.fake_handle import AT, a_fleet, a_machine, a_report

P = pytest.param
HOUR = 3600.0
SEEN = {"at": AT, "complete": True, "believed_at": AT}


def unknown(name: str, seconds: float, evidence: str = "gpu: unknown, no answer", **fields: Any) -> MachineReport:
    use = {"verdict": "unknown", "evidence": evidence, "unknown_s": seconds}
    return a_machine(name, idle=use, **fields)


@pytest.mark.parametrize(
    ("machines", "said"),
    [
        P([a_machine("training-1")], {}, id="no idle source"),
        P([unknown("training-1", SILENT_AFTER - 1)], {}, id="not for long"),
        P(
            [unknown("training-1", SILENT_AFTER)],
            {"training": ("training-1 is", AT - timedelta(minutes=30))},
            id="half an hour",
        ),
        P(
            [unknown("training-1", HOUR), unknown("training-2", 3 * HOUR), unknown("training-3", 60)],
            {"training": ("2 machines are", AT - timedelta(hours=3))},
            id="several: the longest",
        ),
        P(
            [unknown("training-1", HOUR), unknown("web-1", 2 * HOUR, fleet="web")],
            {
                "training": ("training-1 is", AT - timedelta(hours=1)),
                "web": ("web-1 is", AT - timedelta(hours=2)),
            },
            id="two fleets",
        ),
        P([unknown("training-1", HOUR, owned=False)], {}, id="not ours"),
    ],
)
def test_whose_use_nobody_can_tell(machines: list[MachineReport], said: dict[str, tuple[str, datetime]]) -> None:
    found = {one.fleet: (one.words, one.since) for one in unheard(a_report(machines=machines, observation=SEEN))}
    how = "nobody has been able to tell whether {} in use, which counts as used: gpu: unknown, no answer."
    assert found == {fleet: (how.format(who), since) for fleet, (who, since) in said.items()}


def test_without_evidence_the_sentence_still_ends() -> None:
    (one,) = unheard(a_report(machines=[unknown("training-1", HOUR, evidence="")], observation=SEEN))
    assert one.sentence == (
        "Since 2026-03-02 11:00:00 UTC: "
        "nobody has been able to tell whether training-1 is in use, which counts as used."
    )


def test_since_when_does_not_move_while_the_picture_is_an_old_one() -> None:
    """Nor do the words: what is on an open page stays what it is."""
    machines = [unknown("training-1", HOUR)]
    report = a_report(machines=machines, observation={**SEEN, "doubted_since": AT, "doubt": "503"})
    first, later = ([n for n in needs(report, AT + timedelta(minutes=m)) if n.subject == "training"] for m in (0, 90))
    assert first == later
    assert first[0].since == AT - timedelta(hours=1)
    (bare,) = unheard(a_report(machines=machines, observation=None))
    assert (bare.since, bare.sentence) == (None, bare.words)


def test_status_explain_and_the_page_say_it() -> None:
    machines = [unknown("training-1", HOUR, "gpu: unknown, \x1b[31m\nno"), a_machine("training-2")]
    report = a_report(machines=machines, observation=SEEN)
    (need,) = needs(report, AT)
    assert (need.subject, need.since, need.path) == ("training", AT - timedelta(hours=1), "fleet/training")
    assert "\n" not in need.words
    for shown in (drawn(report), drawn(problems(report), only_problems=True), drawn(of_fleet(report, "training"))):
        words = " ".join(shown.split())
        assert (
            "training: Since 2026-03-02 11:00:00 UTC: nobody has been able to tell whether training-1 is in use"
            in words
        )
        assert "\x1b" not in shown
        assert NO_PROBLEM not in shown
    sentences = sentences_about(report, "training", (), AT)
    told = [line for line in sentences if "nobody has been able" in line]
    assert len(told) == 1
    assert styles_of(report, sentences, AT)[sentences.index(told[0])] == "yellow"


def test_only_its_own_fleet_is_told_of_it() -> None:
    fleets = {"training": a_fleet(), "web": a_fleet()}
    report = a_report(fleets=fleets, machines=[unknown("training-1", HOUR)])
    assert not any("nobody has been able" in line for line in sentences_about(report, "web", (), AT))
