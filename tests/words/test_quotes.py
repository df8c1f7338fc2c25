from __future__ import annotations

import pytest

from fleetd.words.quotes import clause


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
