"""What history says of a veto, and the words of one that is on nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleetd.engine.vetoes import entry_words, names_of, no_machine, order_entry
from fleetd.model.journal import Hold
from fleetd.model.reasons import Outcome, Reason, Verb
from tests.support.build import NOW, later, machine, token_name

ONE, TWO = (machine(1), "training"), (machine(2), "other")
P = pytest.param


@pytest.mark.parametrize(
    ("verb", "subject", "found", "fleet", "who", "name"),
    [
        P("hold", "ps1", [ONE], "training", "ps1", token_name(1), id="a machine"),
        P("release", "ps1", [], "", None, "ps1", id="of one that is not there"),
        P("hold", "twins", [ONE, TWO], "", None, "twins", id="on two that are called so"),
        P("adopt", "ps2", [TWO], "other", "ps2", token_name(2), id="another fleet's"),
        P("freeze", "training", [], "training", None, "training", id="a fleet"),
        P("unfreeze", "training", [], "training", None, "training", id="and over"),
        P("freeze", None, [], "", None, "everything", id="everything"),
        P("unfreeze", None, [], "", None, "everything", id="and all over"),
    ],
)
def test_what_history_says_of_an_order(
    verb: str, subject: str | None, found: list[Any], fleet: str, who: str | None, name: str
) -> None:
    entry = order_entry(verb, subject, found, "ada", NOW, "incident")
    assert (entry.fleet, entry.machine, entry.name, entry.verb) == (fleet, who, name, verb)
    assert (entry.ts, entry.actor, entry.evidence) == (NOW, "ada", "incident")
    assert (entry.reason, entry.outcome) == (Reason.OPERATOR_REQUEST, Outcome.OBSERVED)


def test_the_words_of_a_veto() -> None:
    one = Hold(1, "ps1", "hold", "moving data", "ada", NOW, later(hours=1))
    assert entry_words(one) == "moving data; until 2026-03-02 13:00:00 UTC"
    part = replace(one, verbs=frozenset({Verb.STOP, Verb.DESTROY}))
    assert entry_words(part) == "moving data; destroy and stop only; until 2026-03-02 13:00:00 UTC"


@pytest.mark.parametrize(
    ("subject", "says", "not_said"),
    [
        ("training", "is a fleet", "patterns"),
        ("train*", "takes no patterns", "is a fleet"),
        ("a?", "takes no patterns", "is a fleet"),
        ("[ab]", "takes no patterns", "is a fleet"),
        ("ps9", "no machine of ours is called ps9; nothing is held", "patterns"),
    ],
)
def test_why_nothing_is_held(subject: str, says: str, not_said: str) -> None:
    words = no_machine(subject, ["training"])
    assert says in words
    assert not_said not in words


def test_all_names_that_a_veto_may_have_been_made_with() -> None:
    assert names_of("ps1", [ONE]) == sorted(["ps1", token_name(1)])
    assert names_of(None, []) == [None]
