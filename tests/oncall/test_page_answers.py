"""The same questions, asked of the page by who has a phone and no shell: all that ask what, why and since when."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.oncall.situations import Situation, afternoon, outage
from tests.support.processes import until

AFTERNOON = [
    (
        "How are we, in one look?",
        "/",
        [
            r"Not at target since {time}: training 6 of 8 up, render 0 of 1 up, spare 1 of 3 up\.",
            r"inference ‖ partly frozen, at target 2 of 2",
        ],
    ),
    ("Why is {off} off?", "/machine/{off}", [r"{off} \(ps\w+\) is off .*, in fleet training\. Somebody stopped it"]),
    ("Who stopped it, and when?", "/machine/{off}", [r"changed outside [\d:]{8} operator; ready -> (off|stopping)"]),
    (
        "When does it come back?",
        "/machine/{off}",
        [r"is not started: a person stopped it.*That ends at .* UTC, in \d+ min"],
    ),
    (
        "Why only 6 of 8?",
        "/fleet/training",
        [
            r"training: 6 of 8 up, 2 down\. It is not at its target\.",
            r"not started: a person stopped it.* {off}",
            r"{loud}",
        ],
    ),
    (
        "Who had fleetd stop {loud}, and why?",
        "/machine/{loud}",
        [
            r"An operator had fleetd stop it at ",
            r"keeps {loud} from being started until .*: its fan is loud\.",
            r"{loud} stop: reached after .* operator request; its fan is loud; by ",
        ],
    ),
    (
        "When does the target change, and to what?",
        "/fleet/training",
        [r"Target 2 \(window night\) at \d\d:\d\d UTC "],
    ),
    ("What does it cost an hour?", "/fleet/training", [r"\$3\.12 an hour"]),
    (
        "What is held, until when, by whom and why?",
        "/machine/{held}",
        [r"Hold on {held} by .* \(uid \d+\): a run that must not be lost, until {time}, [23] h .*left"],
    ),
    (
        "What is held at all?",
        "/",
        [r"On their own: .*hold on {held} by .* \(uid \d+\): a run that must not be lost, until {time}"],
    ),
    (
        "Is the freeze still on?",
        "/fleet/inference",
        [r"Freeze on inference \(create only\) by .*: moving data, until {time}, .* left"],
    ),
    ("Is it doing anything right now?", "/", [r"last pass \d+ s ago, took [\d.]+ m?s"]),
    ("Did my reload take?", "/history?since=1h", [r"config reloaded [\d:]{8} .*0\.51 -> 0\.52"]),
    ("Is anybody using {used}?", "/machine/{used}", [r"It is in use \(job: active, .*slurm \(.*\) until .* UTC\)\."]),
    (
        "Why is nothing of render up?",
        "/fleet/render",
        [
            (
                r"not (started|created): the last of its type did not come up, mostly for want of capacity"
                r".*insufficient capacity"
            )
        ],
    ),
    (
        "Why does spare stay below its target?",
        "/fleet/spare",
        [r"spare: 1 of 3 up", r"2 machines of spare are not created: it would cost more than max_hourly_cost allows"],
    ),
    ("Where has {lost} gone?", "/machine/{lost}", [r"There is no machine {lost}", r"ready -> gone"]),
    (
        "Is {desk} ours?",
        "/machine/{desk}",
        [r"It is not fleetd's: neither created nor adopted", r"not owned: never touched"],
    ),
    ("What is it called, that has {off}'s end?", "/?q={end}", [r"{off} \(ps\w+\) is off"]),
    (
        "What has been done in the last hour, by whom and why?",
        "/history?since=1h",
        [
            r"create: reached after .* short of target",
            r"stop: reached after .* operator request; its fan is loud; by ",
            r"{held} hold [\d:]{8} operator request; a run that must not be lost; until",
            r"inference freeze ",
            r"daemon started",
        ],
    ),
    ("How do I make it stop, now?", "/fleet/training", [r"fleetd freeze training --for 2h --reason why -c /"]),
]
OUTAGE = [
    (
        "Is the provider there?",
        "/",
        [r"Blind since {time}: the provider does not answer\. Last seen {time}: 1 of 1 up\."],
    ),
    (
        "Why is my change not in force?",
        "/",
        [r"The new config was rejected, .* fleets\.training\.target: .* since {time}"],
    ),
    (
        "Can I believe what I see?",
        "/fleet/training",
        [r"Not believed since .*What follows is as of ", r"\? not seen now", r"fleetd started outage"],
    ),
]


TIME = r"(?:\d+ \w+ )?[\d:]{5,8} UTC"
"""``{time}`` above: an instant of another day is told with its day."""


def answers(here: Situation, path: str, patterns: list[str]) -> None:
    said = ""

    def lacks() -> list[str]:
        nonlocal said
        said = here.look(path)
        return [p for p in patterns if not re.search(filled(p), said)]

    def filled(pattern: str) -> str:
        return re.sub(
            r"\{([a-z]+)\}", lambda m: re.escape(here.names.get(m[1], "")) or m[0], pattern.replace("{time}", TIME)
        )

    until(lambda: not lacks(), every=2.0, saying=lambda: f"{lacks()}\n--- is not in ---\n{said}")


@pytest.fixture(scope="module")
def in_the_afternoon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Situation]:
    with afternoon(tmp_path_factory.mktemp("afternoon")) as here:
        here.names["end"] = here.names["off"][-6:]
        yield here


@pytest.mark.slow
@pytest.mark.parametrize(("question", "path", "patterns"), AFTERNOON, ids=[q for q, _, _ in AFTERNOON])
def test_in_the_afternoon(in_the_afternoon: Situation, question: str, path: str, patterns: list[str]) -> None:
    answers(in_the_afternoon, path, patterns)


@pytest.fixture(scope="module")
def in_an_outage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Situation]:
    with outage(tmp_path_factory.mktemp("outage")) as here:
        yield here


@pytest.mark.parametrize(("question", "path", "patterns"), OUTAGE, ids=[q for q, _, _ in OUTAGE])
def test_in_an_outage(in_an_outage: Situation, question: str, path: str, patterns: list[str]) -> None:
    answers(in_an_outage, path, patterns)
