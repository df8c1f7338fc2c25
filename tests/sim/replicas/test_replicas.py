"""The promises with two replicas: on drawn stories, and with the pieces broken that they rest on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("psycopg")

from fleetd.simulator import faults as f
from tests.sim.record import EPOCH
from tests.sim.replicas import rest
from tests.sim.replicas.mutations import FOUND, MUTATIONS, Mutation, short_story
from tests.sim.replicas.record import ReplicaRecord
from tests.sim.replicas.stage import run_replicas, run_story
from tests.sim.replicas.story import CALM_LIMIT, MINUTE, ReplicaStory
from tests.sim.spec import FleetSpec

SEEDS = ("1", "18")
"""An hour of two replicas takes about eight seconds of one core; the long run is for hundreds of them. In the second,
a freeze is given to a holder hours behind to which the provider has not spoken."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_is_kept_while_replicas_take_over(seed: str) -> None:
    outcome = run_replicas(seed)
    assert outcome.breaches == ()
    assert sum(often for what, often in outcome.faults.items() if what.startswith("taken: ")) > 3


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_stays_mended(what: str) -> None:
    assert run_story(FOUND[what]).breaches == ()


def test_a_story_gives_the_same_log_each_time() -> None:
    story = next(iter(FOUND.values()))
    one, other = (run_story(story).log for _ in range(2))
    assert one.count("lease.taken") > 2
    assert one == other


def test_a_run_lasts_until_what_was_refused_has_been_waited_out() -> None:
    """Seed 25 once ended before that, and was not judged at all."""
    refused = f.ErrorAnswer(operation="create", status=422, until=6 * MINUTE)
    story = short_story(rules=(refused,), calm=5 * MINUTE)
    outcome = run_story(story)
    assert outcome.breaches == ()
    assert outcome.days * 86400 > story.end + 30 * MINUTE


@pytest.mark.parametrize(
    ("quiet", "wanted"),
    [(100.0, None), (761.0, 1001.0), (10 * CALM_LIMIT, 480.0 + CALM_LIMIT)],
    ids=["it rested long ago", "a minute later", "never: it is judged as it is"],
)
def test_when_a_run_is_judged(quiet: float, wanted: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "quiet_from", lambda _truth: quiet)
    story = ReplicaStory("judged", (FleetSpec("training", 1),), (), trouble=480.0, calm=300.0)
    record = ReplicaRecord("judged", EPOCH, calm_from=story.calm_from, end=story.end, rest=240.0)
    assert rest.wanted_end(record, story) == wanted
    if wanted is not None:
        record.end = wanted
        assert rest.wanted_end(record, story) is None


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=[f"{m.promise}: {m.name}" for m in MUTATIONS])
def test_a_broken_build_is_caught_and_a_sound_one_is_not(mutation: Mutation) -> None:
    assert run_story(mutation.story).breaches == ()
    with mutation.applied():
        caught = run_story(mutation.story).breaches
    assert mutation.promise in {breach.promise for breach in caught}


def test_the_broken_builds_are_listed_as_they_are() -> None:
    page = (Path(__file__).parents[3] / "docs" / "promises.md").read_text("utf-8")
    table = page.partition("| promise | the broken build, with two replicas |")[2].partition("\n\n")[0]
    listed = re.findall(r"^\| (\d+) \| (.+) \|$", table, re.MULTILINE)
    assert listed == [(str(m.promise), m.name) for m in sorted(MUTATIONS, key=lambda m: m.promise)]
