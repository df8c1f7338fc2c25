"""Broken builds, each of which must break the promise that it is named after."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.sim.checker import PROMISES
from tests.sim.mutations import MUTATIONS, Mutation
from tests.sim.run import run_story


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[f"{m.promise}: {m.name}" for m in MUTATIONS])
def test_a_broken_build_is_caught_and_a_sound_one_is_not(mutation: Mutation) -> None:
    assert run_story(mutation.story).breaches == ()
    with mutation.applied():
        caught = run_story(mutation.story).breaches
    assert mutation.promise in {breach.promise for breach in caught}


def test_every_promise_has_its_broken_build() -> None:
    assert {m.promise for m in MUTATIONS} == set(PROMISES)


def test_the_broken_builds_are_listed_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "promises.md").read_text("utf-8")
    table = page.partition("| promise | the broken build |")[2].partition("\n\n")[0]
    listed = re.findall(r"^\| (\d+) \| (.+) \|$", table, re.MULTILINE)
    assert listed == [(str(m.promise), m.name) for m in sorted(MUTATIONS, key=lambda m: m.promise)]
