"""The journal's cells as PostgreSQL keeps them: its text holds neither NUL nor half a surrogate pair."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

from fleetd.store.rows import Cell, Table, as_text, text_to_cell

T = TypeVar("T")

_MARK = "\x1a"
"""SUBSTITUTE: begins the four hexadecimal digits of a character that cannot be stored, or of itself."""
_UNSTORABLE = re.compile("[\0\x1a\ud800-\udfff]")
_STORED = re.compile("\x1a([0-9a-f]{4})")


def stored(cell: Cell) -> Cell:
    """A cell of ``rows`` as it is sent. Equal texts stay equal, different ones different."""
    if isinstance(cell, bytes):
        cell = as_text(cell)
    if isinstance(cell, str):
        return _UNSTORABLE.sub(lambda found: f"{_MARK}{ord(found[0]):04x}", cell)
    return cell


def read(cell: Any) -> Cell:
    """A cell as it came, as ``rows`` reads it. The inverse of ``stored``."""
    if isinstance(cell, str) and _MARK in cell:
        return text_to_cell(_STORED.sub(lambda found: chr(int(found[1], 16)), cell))
    found: Cell = cell
    return found


def encoded(table: Table[T], value: T) -> tuple[Cell, ...]:
    """The row that ``insert`` takes."""
    return tuple(stored(cell) for cell in table.encode(value))


def decoded(table: Table[T], row: Sequence[Any]) -> T:
    """The value of a row of the table's ``select``."""
    return table.decode([read(cell) for cell in row])
