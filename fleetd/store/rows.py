"""Values to rows and back, exactly: one table per dataclass, one column per field.

Instants are integer microseconds since 1970 UTC, enums their values, mappings and sets JSON with sorted keys.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, TypeVar

from fleetd.model.journal import Backoff, BilledMonth, HistoryEntry, Hold, Intent, MachineFacts
from fleetd.model.reasons import Verb

T = TypeVar("T")

Cell = str | bytes | int | float | None
"""What SQLite stores."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Undecodable(Exception):
    """A row holds something that no value of this version can be."""


class Table(Generic[T]):
    """A dataclass's table: its columns, its statements, and both directions."""

    def __init__(self, cls: type[T], name: str, *, numbered: bool = False) -> None:
        """Derive the columns from the fields; ``numbered`` leaves the field ``id`` to the database."""
        hints = typing.get_type_hints(cls)
        self.cls = cls
        self.name = name
        self.columns: tuple[str, ...] = tuple(f.name for f in dataclasses.fields(cls))  # type: ignore[arg-type]
        self._codecs = {column: _codec(hints[column]) for column in self.columns}
        self._stored = tuple(c for c in self.columns if not (numbered and c == "id"))
        names = ", ".join(self._stored)
        marks = ", ".join("?" * len(self._stored))
        self.select = f"SELECT {', '.join(self.columns)} FROM {name}"  # noqa: S608 - both are field names
        self.insert = f"INSERT INTO {name} ({names}) VALUES ({marks})"  # noqa: S608
        self.replace = f"INSERT OR REPLACE INTO {name} ({names}) VALUES ({marks})"  # noqa: S608

    def encode(self, value: T) -> tuple[Cell, ...]:
        """The row that ``insert`` and ``replace`` take.

        Raises:
            ValueError: an instant without a time zone, or JSON that has no text (NaN).
            TypeError: JSON of an unknown type.
        """
        return tuple(self._codecs[column][0](getattr(value, column)) for column in self._stored)

    def encode_cell(self, column: str, value: object) -> Cell:
        """One field's cell."""
        return self._codecs[column][0](value)

    def decode(self, row: Sequence[Cell]) -> T:
        """The value of a row of ``select``.

        Raises:
            Undecodable: the row holds something that no value of this version can be.
        """
        cells = zip(self.columns, row, strict=True)
        try:
            return self.cls(**{column: self._codecs[column][1](cell) for column, cell in cells})
        except (ValueError, OverflowError) as error:
            msg = f"table {self.name}: {error}"
            raise Undecodable(msg) from error

    def values(self, rows: Iterable[Sequence[Cell]]) -> list[T]:
        """The values of many rows of ``select``; raises as ``decode`` does."""
        return [self.decode(row) for row in rows]


def instant_to_cell(value: datetime) -> int:
    """Microseconds since 1970 UTC.

    Raises:
        ValueError: ``value`` has no time zone.
    """
    if value.tzinfo is None:
        msg = f"the instant {value.isoformat()} has no time zone"
        raise ValueError(msg)
    return (value - _EPOCH) // _MICROSECOND


def text_to_cell(value: str) -> str | bytes:
    """Text, or its bytes where it is no Unicode (half a surrogate pair, as hostile JSON may hold)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
    return value


def cell_to_text(cell: Cell) -> str:
    """The inverse of ``text_to_cell``."""
    return cell.decode("utf-8", "surrogatepass") if isinstance(cell, bytes) else _expect(str, cell)


_Codec = tuple[Callable[[typing.Any], Cell], Callable[[Cell], object]]


def _codec(hint: object) -> _Codec:
    if isinstance(hint, types.UnionType):
        (inner,) = (arm for arm in typing.get_args(hint) if arm is not types.NoneType)
        return _optional(_codec(inner))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return (str, hint)
    return _CODECS[hint]


def _optional(codec: _Codec) -> _Codec:
    encode, decode = codec
    return (
        lambda value: None if value is None else encode(value),
        lambda cell: None if cell is None else decode(cell),
    )


def _cell_to_instant(cell: Cell) -> datetime:
    return _EPOCH + timedelta(microseconds=_expect(int, cell))


def _cell_to_decimal(cell: Cell) -> Decimal:
    try:
        return Decimal(_expect(str, cell))
    except InvalidOperation as error:
        msg = f"{cell!r:.80} is no amount"
        raise ValueError(msg) from error


def _mapping_to_cell(value: Mapping[str, object]) -> str:
    return json.dumps(dict(value), sort_keys=True, allow_nan=False, separators=(",", ":"))


def _cell_to_mapping(cell: Cell) -> Mapping[str, object]:
    return MappingProxyType(_expect(dict, json.loads(_expect(str, cell))))


def _verbs_to_cell(value: Iterable[Verb]) -> str:
    return json.dumps(sorted(value), separators=(",", ":"))


def _cell_to_verbs(cell: Cell) -> frozenset[Verb]:
    return frozenset(Verb(verb) for verb in _expect(list, json.loads(_expect(str, cell))))


def _expect(kind: type[T], value: object) -> T:
    if not isinstance(value, kind):
        msg = f"{value!r:.80} is not of type {kind.__name__}"
        raise ValueError(msg)  # noqa: TRY004 - the row is at fault, not the caller
    return value


_CODECS: Mapping[object, _Codec] = MappingProxyType(
    {
        str: (text_to_cell, cell_to_text),
        int: (int, lambda cell: _expect(int, cell)),
        float: (float, lambda cell: _expect(float, cell)),
        bool: (int, lambda cell: bool(_expect(int, cell))),
        datetime: (instant_to_cell, _cell_to_instant),
        Decimal: (str, _cell_to_decimal),
        Mapping[str, object]: (_mapping_to_cell, _cell_to_mapping),
        frozenset[Verb]: (_verbs_to_cell, _cell_to_verbs),
    }
)

INTENTS = Table(Intent, "intent", numbered=True)
HISTORY = Table(HistoryEntry, "history")
FACTS = Table(MachineFacts, "facts")
BACKOFFS = Table(Backoff, "backoff")
BILLS = Table(BilledMonth, "bill")
HOLDS = Table(Hold, "hold", numbered=True)
