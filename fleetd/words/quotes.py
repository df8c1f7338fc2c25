"""What others said (a provider, a person, an error), inside a sentence of ours."""

from __future__ import annotations


def clause(text: str) -> str:
    """On one line, and without the full stop that ends it: ours follows."""
    line = " ".join(text.split())
    return line.rstrip(" .") or line
