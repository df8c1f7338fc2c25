"""What the on-call person asks, each question answered by one command in a real situation."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.oncall.situations import Situation, afternoon, last_night, outage
from tests.support.processes import until

CLOCK = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"

AFTERNOON = [
    (
        "How are we, in one look?",
        "status",
        [r"fleetd runs \(pid \d+", r"provider: ok", r"\ntraining +8 +6 .*not at target", r"\ninference +2 +2"],
    ),
    (
        "Why is {off} off?",
        "explain {off}",
        [
            r"{off} \(ps\w+\) is off .*, in fleet training\.",
            r"it was not fleetd: a person at the provider's console",
        ],
    ),
    (
        "Who stopped it, and when?",
        "history --machine {off}",
        [r"outside +operator +observed .*ready -> (off|stopping)"],
    ),
    (
        "When does it come back?",
        "explain {off}",
        [rf"{{off}} is not started: a person stopped it.*That ends at {CLOCK}, in \d+ min\."],
    ),
    (
        "Why only 6 of 8?",
        "explain training",
        [
            r"training: 6 of 8 up, 2 down\. It is not at its target\.",
            r"{off} is not started: a person stopped it",
            r"{loud} is not started: a person stopped it.*\(.+: its fan is loud\)\. That ends at",
        ],
    ),
    (
        "Who had fleetd stop {loud}, and why?",
        "explain {loud}",
        [
            rf"An operator had fleetd stop it at {CLOCK}",
            r"keeps {loud} from being started until .*, for another [34] h.*: its fan is loud\.",
            r"Last in the journal:\n.* - stop {loud}: reached after .*operator_request \(its fan is loud; by ",
        ],
    ),
    (
        "What will happen when the window opens tonight?",
        "plan --at {window}",
        [
            rf"^At {CLOCK}, in (4 h \d+ min|5 h), with the machines as they are now:",
            r"training: 6 of 2 up, 2 down; window night is open, the configured target is 8",
            r"- stop .*the fleet has more machines up than its target .*-\$0\.52/h",
            r"Plan: .* to stop",
        ],
    ),
    (
        "Will {used} be parked tonight, and {free}?",
        "plan --at {window}",
        [
            r"- stop +{free} +it is idle, and a window that parks idle machines is open",
            r"! busy +{used} is not stopped: it is being used \(job: active, .*slurm",
        ],
    ),
    (
        "When does the target change, and to what?",
        "explain training",
        [rf"At {CLOCK}, in (4 h \d+ min|5 h), window night is in force: target 2\."],
    ),
    ("What does it cost an hour?", "explain training", [r"It costs \$3\.12 an hour now\."]),
    (
        "What has it cost this month?",
        "cost",
        [r"training .* 9 machines .*\$\d+\.\d\d", r" all .* \$"],
    ),
    (
        "What is held, until when, by whom and why?",
        "status",
        [
            r"Holds and freezes:",
            r"hold on {held} by .* \(uid \d+\): a run that must not be lost, until .* UTC \(in [23] h",
        ],
    ),
    (
        "Is the freeze still on?",
        "explain inference",
        [rf"has frozen fleet inference \(create only\) until {CLOCK}, for another .+: moving data\."],
    ),
    ("Is it doing anything right now?", "status", [r"last pass: \d+ s ago, took [\d.]+ s, \d+ actions?"]),
    ("Did my reload take?", "status", [r"config: in force since [\d :-]+ UTC \(\d+ (s|min) ago\)"]),
    (
        "Is anybody using {used}?",
        "explain {used}",
        [r"It is in use \(job: active, .*slurm \(.*\) until .* UTC\)\."],
    ),
    (
        "Why is nothing of render up?",
        "explain render",
        [rf"is not started: the last of its type did not come up.*insufficient capacity.*That ends at {CLOCK}, in"],
    ),
    (
        "Why does spare stay below its target?",
        "explain spare",
        [
            r"spare: 1 of 3 up",
            r"2 machines of spare are not created: it would cost more than max_hourly_cost allows",
            r"\(\$0\.52/h of \$0\.6/h for fleet spare\)\. That changes only when a person changes it\.",
        ],
    ),
    (
        "Where has {lost} gone?",
        "explain {lost}",
        [r"No machine is called {lost} now; the journal remembers one\.", r"ready -> gone"],
    ),
    ("Is {desk} ours?", "explain {desk}", [r"is ready\.", r"It is not fleetd's: neither created nor adopted"]),
    (
        "What has been done in the last hour, by whom and why?",
        "history --since 1h",
        [
            r"\+ create +short_of_target +reached",
            r"- stop +operator_request +reached .*its fan is loud; by ",
            r"\* hold +operator_request +observed .*a run that must not be lost; until",
            r"\* freeze ",
        ],
    ),
    (
        "What would it do next, if I let it?",
        "plan",
        [r"Not done:", r"! respect_manual ", r"! guard_cost ", r"Nothing to do\.  \$4\.68/h"],
    ),
    ("Is the file sound, before I reload it?", "check", [r"is valid: training \(target 8\), inference \(target 2\)"]),
    (
        "How do I make it stop, now?",
        "freeze --for 1h --reason incident",
        [r"everything is frozen until .*\d\d:\d\d:\d\d UTC \(in 60 min\): incident"],
    ),
]
"""(question, command, patterns of the answer); {names} are those of the situation, in patterns too."""

NIGHT = [
    (
        "Why was so little parked last night?",
        "history --since 48h",
        [
            r"\* window +window_parked .*closed with 2 off and 1 up; not parked: {busy}: it is being used",
            r"\(gpu: active, scripted active\)",
            r"{idle} +- stop +parked_idle +reached .*gpu: idle, scripted idle",
        ],
    ),
    (
        "Who stopped {stopped} in the night?",
        "history --machine {stopped}",
        [r"- stop +operator_request +reached .*smells of smoke; by ada \(uid 1000\)"],
    ),
]
OUTAGE = [
    ("Is the provider there?", "status", [r"provider: unavailable", r"last error: "]),
    (
        "Why is my change not in force?",
        "status",
        [r"reload rejected at .+ ago\), the config from before is in force: (.*\n)? *\S+\.toml:\d+: fleets\.tr"],
    ),
    (
        "Can I believe what I see?",
        "explain training",
        [r"^Not believed since .*What follows is as of ", r"A reload was rejected at .+ the old"],
    ),
]


def answers(here: Situation, command: str, patterns: list[str]) -> None:
    """Ask until the answer is whole: render is tried again now and then, and looks different for seconds."""
    said = ""

    def lacks() -> list[str]:
        nonlocal said
        said = here.ask(command)
        return [p for p in patterns if not re.search(filled(p), said)]

    def filled(pattern: str) -> str:
        named = re.sub(r"\{(\w+)\}", lambda m: re.escape(here.names.get(m[1], "")) or m[0], pattern)
        return named.replace("{{", "{").replace("}}", "}")

    until(lambda: not lacks(), every=2.0, saying=lambda: f"{lacks()}\n--- is not in ---\n{said}")


def test_there_are_twenty_questions_and_more() -> None:
    assert len({question for question, _, _ in AFTERNOON + NIGHT + OUTAGE}) >= 20


@pytest.fixture(scope="module")
def in_the_afternoon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Situation]:
    with afternoon(tmp_path_factory.mktemp("afternoon")) as here:
        yield here


@pytest.mark.slow
@pytest.mark.parametrize(("question", "command", "patterns"), AFTERNOON, ids=[q for q, _, _ in AFTERNOON])
def test_in_the_afternoon(in_the_afternoon: Situation, question: str, command: str, patterns: list[str]) -> None:
    answers(in_the_afternoon, command, patterns)


@pytest.fixture(scope="module")
def the_morning_after(tmp_path_factory: pytest.TempPathFactory) -> Situation:
    return last_night(tmp_path_factory.mktemp("night"))


@pytest.mark.parametrize(("question", "command", "patterns"), NIGHT, ids=[q for q, _, _ in NIGHT])
def test_the_morning_after(the_morning_after: Situation, question: str, command: str, patterns: list[str]) -> None:
    answers(the_morning_after, command, patterns)


@pytest.fixture(scope="module")
def in_an_outage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Situation]:
    with outage(tmp_path_factory.mktemp("outage")) as here:
        yield here


@pytest.mark.parametrize(("question", "command", "patterns"), OUTAGE, ids=[q for q, _, _ in OUTAGE])
def test_in_an_outage(in_an_outage: Situation, question: str, command: str, patterns: list[str]) -> None:
    answers(in_an_outage, command, patterns)
