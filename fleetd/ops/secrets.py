"""Keeping secrets out of everything that is written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from math import isfinite

from fleetd.cloud.text import HIDDEN, spellings

DEPTH = 8
"""Levels of a value that are walked; what lies deeper is written as text."""


class Secrets:
    """Values that never appear in a line, wherever they come from."""

    def __init__(self) -> None:
        self._needles: tuple[str, ...] = ()

    def add(self, value: str) -> None:
        """Mask ``value`` from now on, also as it stands in a URL, in JSON or in a ``repr``."""
        if value:
            # The longest first: a secret that begins with another one must not leave its tail behind.
            self._needles = tuple(sorted({*self._needles, *spellings(value)}, key=lambda n: (-len(n), n)))

    def mask_text(self, text: str) -> str:
        """``text`` with every secret in it masked."""
        for needle in self._needles:
            text = text.replace(needle, HIDDEN)
        return text

    def mask(self, value: object, *, depth: int = DEPTH) -> object:
        """``value`` as plain JSON values, with every secret in it masked, keys of mappings included.

        Never raises: what cannot be turned into text is named by its type.
        """
        match value:
            case None | bool() | int():
                return value
            case float():
                return value if isfinite(value) else str(value)
            case str():
                return self.mask_text(str(value.value) if isinstance(value, Enum) else value)
            case Mapping() if depth:
                return {self.mask_text(text_of(k)): self.mask(v, depth=depth - 1) for k, v in value.items()}
            case list() | tuple() if depth:
                return [self.mask(v, depth=depth - 1) for v in value]
            case set() | frozenset() if depth:
                return [self.mask(v, depth=depth - 1) for v in sorted(value, key=text_of)]
            case _:
                return self.mask_text(text_of(value))


def text_of(value: object) -> str:
    """A value as text: instants in ISO 8601 with a Z, errors with their type, everything else by ``str``."""
    match value:
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case BaseException():
            return f"{type(value).__name__}: {_said(value)}".removesuffix(": ")
        case _:
            return _said(value)


def _said(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a log line about a broken object must not become a second failure
        return f"<{type(value).__name__} whose text cannot be had: {type(error).__name__}>"
