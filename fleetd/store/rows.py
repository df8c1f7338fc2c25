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
from types import MappingProxyType
from typing import Generic, TypeVar

import structlog

from fleetd.model.bounds import FIRST, LAST
from fleetd.model.journal import Backoff, BilledMonth, HistoryEntry, Hold, Intent, KeptLease, MachineFacts
from fleetd.model.reasons import Outcome, Verb, Word, known

log = structlog.get_logger(__name__)

T = TypeVar("T")

Cell = str | bytes | int | float | None
"""What SQLite stores."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LAST = (LAST - _EPOCH) // _MICROSECOND


class Table(Generic[T]):
    """A dataclass's table: its columns, its statements, and both directions."""

    def __init__(self, cls: type[T], name: str) -> None:
        """Derive the columns from the fields; a field ``id`` is the database's to give."""
        self._hints = hints = typing.get_type_hints(cls)
        self._said: set[str] = set()
        self.cls = cls
        self.name = name
        self.columns: tuple[str, ...] = tuple(f.name for f in dataclasses.fields(cls))  # type: ignore[arg-type]
        self._codecs = {column: _codec(hints[column]) for column in self.columns}
        self._stored = tuple(c for c in self.columns if c != "id")
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

        A cell that no value of this version can be stands for what does the least harm: a veto that cannot be read
        forbids everything and goes on, an intent is one whose answer was lost. Said once for each column: a newer
        fleetd wrote it, or somebody else; the file itself was checked when it was opened.
        """
        cells = zip(self.columns, row, strict=True)
        return self.cls(**{column: self._read(column, cell) for column, cell in cells})

    def values(self, rows: Iterable[Sequence[Cell]]) -> list[T]:
        """The values of many rows of ``select``."""
        return [self.decode(row) for row in rows]

    def _read(self, column: str, cell: Cell) -> object:
        try:
            return self._codecs[column][1](cell)
        except (ValueError, OverflowError, RecursionError) as error:
            if column not in self._said:
                self._said.add(column)
                log.warning("journal.cell_was_unreadable", table=self.name, column=column, error=f"{error!s:.200}")
            if (self.name, column) in _STAND_INS:
                return _STAND_INS[self.name, column]
            return _stand_in(self._hints[column], cell)


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


def as_text(cell: Cell) -> str:
    """Text, whatever the cell holds."""
    try:
        return cell_to_text(cell)
    except ValueError:
        return str(cell)


def made_by(machines: Mapping[str, str], creates: Iterable[Sequence[str | None]]) -> frozenset[str]:
    """Ids of ``machines`` (names by id) that one of these creates made, or may have made: ``Journal.made``.

    ``creates``: (name, machine id, outcome) of each.
    """
    known: set[str | None] = set()
    unheard: set[str | None] = set()
    for name, machine, outcome in creates:
        if machine is None or outcome == Outcome.LOST:
            unheard.add(name)
        else:
            known.add(machine)
    return frozenset(m for m, name in machines.items() if m in known or name in unheard)


_Codec = tuple[Callable[[typing.Any], Cell], Callable[[Cell], object]]


def _codec(hint: object) -> _Codec:
    if isinstance(hint, types.UnionType):
        (inner,) = (arm for arm in typing.get_args(hint) if arm is not types.NoneType)
        return _optional(_codec(inner))
    if isinstance(hint, type) and issubclass(hint, Word):
        return (lambda word: text_to_cell(str(word)), lambda cell: hint(cell_to_text(cell)))
    return _CODECS[hint]


def _optional(codec: _Codec) -> _Codec:
    encode, decode = codec
    return (
        lambda value: None if value is None else encode(value),
        lambda cell: None if cell is None else decode(cell),
    )


def _cell_to_instant(cell: Cell) -> datetime:
    number = _expect(int, cell)
    return _EPOCH + timedelta(microseconds=min(max(number, 0), _LAST))


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
    verbs = frozenset(Verb(_expect(str, verb)) for verb in _expect(list, json.loads(_expect(str, cell))))
    # What a word of another version forbids is not known: so it forbids everything.
    return verbs if all(map(known, verbs)) else verbs | frozenset(Verb)


def _expect(kind: type[T], value: object) -> T:
    if not isinstance(value, kind):
        msg = f"{value!r:.80} is not of type {kind.__name__}"
        raise ValueError(msg)  # noqa: TRY004 - the row is at fault, not the caller
    return value


def _stand_in(hint: object, cell: Cell) -> object:
    """What an unreadable cell of that type stands for."""
    if isinstance(hint, types.UnionType):
        return None
    if isinstance(hint, type) and issubclass(hint, str):
        text = f"{cell!r:.80}"
        return hint(text)
    plain: Mapping[object, object] = {bool: False, int: 0, float: 0.0, datetime: FIRST}
    return plain.get(hint, frozenset(Verb) if hint == frozenset[Verb] else _NOTHING)


_NOTHING: Mapping[str, object] = MappingProxyType({})
_STAND_INS: Mapping[tuple[str, str], object] = MappingProxyType(
    {("hold", "expires_at"): LAST, ("use_lease", "until"): LAST}
)
"""By table and column, where the type alone does not say what does the least harm."""

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

INTENTS = Table(Intent, "intent")
HISTORY = Table(HistoryEntry, "history")
FACTS = Table(MachineFacts, "facts")
BACKOFFS = Table(Backoff, "backoff")
BILLS = Table(BilledMonth, "bill")
HOLDS = Table(Hold, "hold")
LEASES = Table(KeptLease, "use_lease")
