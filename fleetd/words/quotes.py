"""What others said (a provider, a person, an error), inside a sentence of ours."""

from __future__ import annotations


def clause(text: str) -> str:
    """On one line, and without the full stop that ends it: ours follows."""
    said = line(text)
    return said.rstrip(" .") or said


def line(text: str) -> str:
    """A message of several lines as one."""
    return " ".join(text.split())
