"""What a word means, as a table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fleetd.model.journal import Intent, MachineFacts
from fleetd.model.machine import Machine
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.lookup import Named, meant, named, ours, the_one
from fleetd.planner.ownership import Owner
from tests.support.fake_handle import a_machine

AT = datetime(2026, 3, 2, tzinfo=UTC)
A = Named("psa", "now-a", "f", "was-a")
B = Named("psb", "now-b", "f", "shared")
C = Named("psc", "shared", "f")
D = Named("psd", "psa", "f")
MAKING = Named("", "f-new", "f")


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("psa", [A]),  # an id goes before any name
        ("now-a", [A]),
        ("was-a", [A]),
        ("shared", [B, C]),
        ("f-new", [MAKING]),
        ("", []),
        ("other", []),
    ],
)
def test_a_word_means(word: str, found: list[Named]) -> None:
    assert meant(word, [A, B, C, D, MAKING]) == found


def test_what_is_not_one_machine_is_an_error_that_lists_them() -> None:
    with pytest.raises(LookupError, match=r"use its id: psb \(now-b, shared before\), psc \(shared\)"):
        the_one("shared", [A, B, C])
    with pytest.raises(LookupError, match="no machine of ours"):
        the_one("other", [A, B, C])


def test_ours_are_what_is_listed_what_is_remembered_and_what_is_being_made() -> None:
    facts = {i: MachineFacts(i, "f", f"first-{i}", AT, AT, "ready") for i in ("ps1", "ps2", "ps3")}
    facts["ps3"] = replace(facts["ps3"], gone_at=AT)
    listed = [Machine("ps1", "renamed", "ready"), Machine("ps9", "foreign", "ready")]
    create = Intent(1, "f", Verb.CREATE, Reason.SHORT_OF_TARGET, "f-new", AT, AT)
    assert ours(listed, {"ps1": Owner("f", adopted=False)}, facts, [create]) == [
        Named("ps1", "renamed", "f", "first-ps1", "ready"),
        Named("ps2", "first-ps2", "f", state="ready"),
        Named("", "f-new", "f", state="creating"),
    ]
    row = a_machine("f-new", id=None, fleet=None, state="creating")
    assert named([row]) == [Named("", "f-new", state="creating")]
