from __future__ import annotations

import pytest

from fleetd.words.quotes import clause, faults


@pytest.mark.parametrize(
    ("said", "inside"),
    [
        ("Please try again later.", "Please try again later"),
        ("Please try again later...", "Please try again later"),
        ("list: Service Unavailable", "list: Service Unavailable"),
        ("1 fault\n  fleetd.toml: expected a number", "1 fault fleetd.toml: expected a number"),
        ("What?", "What?"),
        ("v1.2.", "v1.2"),
        (" ... ", "..."),
        ("", ""),
    ],
)
def test_what_others_said_is_a_part_of_our_sentence(said: str, inside: str) -> None:
    assert clause(said) == inside


@pytest.mark.parametrize(
    ("said", "folded"),
    [
        ("", ""),
        (" \n ", ""),
        ("f.toml: no such file", "f.toml: no such file"),
        ("f.toml: 1 fault\n  f.toml:18: a: not a number", "f.toml: 1 fault: f.toml:18: a: not a number"),
        ("f.toml: 2 faults\n  a:  b\n\n  c: d\n", "f.toml: 2 faults: a: b; c: d"),
        ("a:\n  b", "a: b"),
    ],
)
def test_faults_below_each_other_are_told_apart_on_one_line(said: str, folded: str) -> None:
    assert faults(said) == folded
