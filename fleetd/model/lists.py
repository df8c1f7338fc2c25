"""Lists in a line of text: the first few, and how many more there are."""

from __future__ import annotations

from collections.abc import Sequence


def some(names: Sequence[str], most: int, between: str = ", ") -> str:
    """``a, b and 3 more``: the first ``most`` of them."""
    return f"{between.join(names[:most])} {more(len(names) - most)}".rstrip()


def more(left: int) -> str:
    """``and 3 more``; nothing where nothing is left out."""
    return f"and {left:,} more" if left > 0 else ""
