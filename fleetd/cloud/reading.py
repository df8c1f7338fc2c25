"""Reading fields of a provider's JSON that may be missing, null or of another shape than its documents say.

Each gives None for what says nothing, so that one odd field spoils no listing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, TypeVar

import msgspec

from fleetd.cloud.listing import LONGEST_ID, identity
from fleetd.model.bounds import MOST_MONEY, plausible
from fleetd.model.errors import CloudError, MalformedAnswer
from fleetd.model.machine import UNREADABLE, Machine, MachineEvent, SnapshotPolicy

T = TypeVar("T")

LONGEST_NAME = 1000
LONGEST_STATE = 100

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ID)]
Name = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
State = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_STATE)]

LONGEST_TEXT = 2000
"""Characters that are kept of any other text."""
Whole = Annotated[int, msgspec.Meta(ge=-(10**9), le=10**9)] | None
Short = Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT)] | None
Flag = bool | None
Amount = int | float | Short


class Identified(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What must be there of every machine. A dialect's own struct adds what may be, in fields of the kinds above."""

    id: Id
    name: Name
    state: State


W = TypeVar("W", bound=Identified)


class Unreadable(ValueError):
    """JSON that does not say what it must; the message says where."""


def convert(content: object, kind: type[T]) -> T:
    """Content as a struct.

    Raises:
        Unreadable: it is none.
    """
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, RecursionError) as e:
        raise Unreadable(str(e)) from e


def leniently(content: object, kind: type[W]) -> W:
    """A machine's JSON as its dialect's struct, field by field: what is of another shape counts as not said.

    It costs a multiple of reading one without any oddity as what it is.

    Raises:
        Unreadable: it is no machine.
    """
    identified = convert(content, Identified)
    fields = {name: read(member(content, key)) for name, key, read in _lenient_fields(kind)}
    return kind(identified.id, identified.name, identified.state, **fields)


@functools.cache
def _lenient_fields(kind: type[Identified]) -> list[tuple[str, str, Callable[[object], Any]]]:
    """Its optional fields: name, key in the JSON, and how that is read."""
    fields = msgspec.structs.fields(kind)
    return [(field.name, field.encode_name, _LENIENT[field.type]) for field in fields if field.type in _LENIENT]


def member(content: object, key: str) -> object:
    """What stands under a key; None where nothing does."""
    return content.get(key) if isinstance(content, dict) else None


def understood(
    operation: str, read: Callable[[object], T], content: object, *, error: type[CloudError] = MalformedAnswer
) -> T:
    """What ``read`` makes of an answer.

    Raises:
        MalformedAnswer: it is unreadable; another ``error`` where that is said.
    """
    try:
        return read(content)
    except Unreadable as e:
        raise error(f"the answer cannot be understood: {e}", operation=operation) from e


def read_listed(
    entries: Iterable[object],
    read: Callable[[object], Machine | None],
    read_ordinary: Callable[[object], Machine | None],
) -> tuple[Machine, ...]:
    """The machines of a listing. What cannot be read of an entry is that one's problem; one without id is left out.

    Args:
        entries: the listing's.
        read: makes a machine of one; None of one that is deleted. Raises ``Unreadable``.
        read_ordinary: the same, and sooner, of one without any oddity. Raises ``msgspec.ValidationError`` of another.
    """
    machines: list[Machine] = []
    for entry in entries:
        try:
            machine = read_ordinary(entry)
        except (msgspec.ValidationError, ValueError, RecursionError):  # UnicodeEncodeError is one
            pass
        else:
            if machine is not None:
                machines.append(machine)
            continue
        known = identity(entry)
        if known is None or not isinstance(entry, dict):
            continue
        try:
            machine = read(entry)
        except Unreadable as e:
            machine = read({**entry, "id": known, "name": _name(entry), "state": _state(entry)})
            machine = None if machine is None else replace(machine, state=UNREADABLE, unreadable=str(e))
        if machine is not None:
            machines.append(machine)
    return tuple(machines)


@functools.lru_cache(maxsize=256)
def policy(enabled: bool | None, frequency: str | None, keep: int | None) -> SnapshotPolicy:
    """Automatic snapshots; one value for all machines that have the same."""
    return SnapshotPolicy(enabled, frequency, keep)


def events_of(content: object, *, error: str, handle: str) -> list[MachineEvent]:
    """Events as they came; an entry that is none is passed over. ``error``, ``handle``: what a dialect calls them."""
    return [
        MachineEvent(
            name=text(entry.get("name")) or "",
            state=text(entry.get("state")) or "",
            error=text(entry.get(error)) or "",
            handle=text(entry.get(handle)) or "",
            created_at=moment(entry.get("dtCreated")),
            finished_at=moment(entry.get("dtFinished")),
        )
        for entry in (content if isinstance(content, list) else [])
        if isinstance(entry, dict)
    ]


def newest_first(events: list[MachineEvent]) -> tuple[MachineEvent, ...]:
    """Events in the order of their dates: much hangs on it. As they came where one has no date."""
    dates = [event.created_at for event in events if event.created_at is not None]
    if len(dates) < len(events):
        return tuple(events)
    return tuple(events[n] for n in sorted(range(len(events)), key=dates.__getitem__, reverse=True))


def _name(entry: dict[str, object]) -> str:
    name = entry.get("name")
    return name if isinstance(name, str) and len(name) <= LONGEST_NAME else ""


def _state(entry: dict[str, object]) -> str:
    """As far as it can be read: whether a machine is deleted hangs on it."""
    state = entry.get("state")
    return state if isinstance(state, str) and 0 < len(state) <= LONGEST_STATE else UNREADABLE


def text(value: object) -> str | None:
    """Text that is not empty, cut to ``LONGEST_TEXT``."""
    return value[:LONGEST_TEXT] if isinstance(value, str) and value else None


def flag(value: object) -> bool | None:
    """True or false."""
    return value if isinstance(value, bool) else None


def whole(value: object) -> int | None:
    """A whole number, whether it came as a number or as text."""
    if value is None:
        return None
    if type(value) is int and abs(value) < 10**9:
        return value
    number = decimal(value)
    return int(number) if number is not None and number == number.to_integral_value() else None


def money(value: object) -> Decimal | None:
    """An amount that is not negative, and that somebody could be billed."""
    rate = None if value is None else decimal(value)
    return rate if rate is not None and 0 <= rate <= MOST_MONEY else None


def decimal(value: object) -> Decimal | None:
    """A finite number, whether it came as a number or as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except (InvalidOperation, ValueError):
        return None
    # No rate, count or time has more digits; what has would take for ever to turn into an int.
    return number if number.is_finite() and abs(number.adjusted()) < 30 else None


def moment(value: object) -> datetime | None:
    """An ISO 8601 instant, in UTC; one without an offset is UTC. None beyond the years that are ``plausible``."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
        if at.tzinfo is UTC:
            return plausible(at)
        return plausible(at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def _amount(value: object) -> int | float | str | None:
    return value if isinstance(value, int | float | str) else None


_LENIENT: Mapping[object, Callable[[object], Any]] = {Short: text, Whole: whole, Flag: flag, Amount: _amount}
"""How a field of each kind is read where something in its entry is odd."""
