"""Small values in the journal, read so that nothing in them keeps a daemon from starting.

A newer fleetd may have written them, or a person; none is worth the holds and freezes beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

import msgspec
import structlog

from fleetd.model.errors import StateUnusable
from fleetd.store.port import Journal

log = structlog.get_logger(__name__)

T = TypeVar("T")

ASIDE = ".unreadable"
"""What is added to the key under which a note is kept that could not be read."""
NO_SUCH = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What reading JSON of another shape raises."""


async def read_note(journal: Journal, key: str, read: Callable[[Mapping[str, object]], T], empty: T) -> T:
    """What ``read`` makes of a note's JSON; ``empty`` where there is none, or where it cannot be read.

    One that cannot be read is set aside under another key, and said.

    Raises:
        StoreError: the journal cannot be read.
    """
    text = await journal.get_note(key)
    if text is None:
        return empty
    try:
        return read(msgspec.convert(json.loads(text), dict[str, object]))
    except NO_SUCH as error:
        with suppress(StateUnusable):  # opened for looking only, or full
            await journal.put_note(key + ASIDE, text)
        log.warning("journal.note_was_set_aside", note=key, error=f"{type(error).__name__}: {error}")
        return empty


def rows_of(note: Mapping[str, object], kind: type[T]) -> dict[str, T]:
    """A note's rows by their keys, those that are of this kind; the others are left out."""
    found: dict[str, T] = {}
    for key, row in note.items():
        with suppress(msgspec.ValidationError):
            found[key] = msgspec.convert(row, kind)
    return found
