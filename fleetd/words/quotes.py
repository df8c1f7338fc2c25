"""What others said (a provider, a person, an error), inside a sentence of ours."""

from __future__ import annotations


def clause(text: str) -> str:
    """On one line, and without the full stop that ends it: ours follows."""
    said = line(text)
    return said.rstrip(" .") or said


def faults(text: str) -> str:
    """A head with a fault on each line below it, as one line: ``fleetd.toml: 2 faults: first; second``."""
    head, *below = [line(part) for part in text.splitlines() if part.strip()] or [""]
    return f"{head.rstrip(':')}: {'; '.join(below)}" if below else head


def line(text: str) -> str:
    """A message of several lines as one."""
    return " ".join(text.split())
