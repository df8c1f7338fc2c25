"""The v1 API's pages: a cursor that survives machines coming and going between two of them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, TypeVar

import msgspec

from fleetd.simulator.records import Refusal
from fleetd.simulator.v1_body import Parameters

PAGE = 20
"""Items on a page unless ``limit`` says otherwise. The vendor does not document its own figure."""
LARGEST = 120
"""The most items on a page; a larger ``limit`` is refused."""

_BEYOND = "beyond"

T = TypeVar("T")


class Paging(Parameters, kw_only=True):
    """The parameters of every list. The newest come first unless the order is asked for."""

    after: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=LARGEST)] = PAGE
    order: Literal["asc", "desc"] = "desc"


@dataclass(frozen=True, slots=True)
class Sorting(Generic[T]):
    """How a list is sorted: by a key, and among equals by something that no two items share."""

    key: Callable[[T], str]
    tie: Callable[[T], str]

    def arrange(self, items: Sequence[T], order: str) -> list[T]:
        """The items in order."""
        return sorted(items, key=self.place, reverse=order == "desc")

    def place(self, item: T) -> tuple[str, str]:
        """Where an item stands."""
        return self.key(item), self.tie(item)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list."""

    items: list[T]
    next_page: str | None
    """The cursor; None at the end."""


def cut(items: Sequence[T], paging: Paging, sorting: Sorting[T], *, shift: int = 0) -> Page[T]:
    """The page after the cursor.

    Args:
        items: the whole list, in order already.
        paging: the request's parameters.
        sorting: how it was sorted.
        shift: a fault: by how many items a later page is off.

    Raises:
        Refusal: the cursor is not one of ours.
    """
    start = 0
    if paging.after is not None:
        start = max(0, _start(items, _open(paging.after), sorting, paging.order) + shift)
    end = start + paging.limit
    page = list(items[start:end])
    return Page(page, _seal(sorting.place(page[-1])) if page and end < len(items) else None)


def unending(page: Page[T], paging: Paging, sorting: Sorting[T], way: str, stranger: Callable[[int], T]) -> Page[T]:
    """A fault: the page of a list that has no end.

    Args:
        page: what the list truly has there.
        paging: the request's parameters.
        sorting: how it was sorted.
        way: what comes after the end: ``cycle`` (the beginning), ``empty`` pages, or ``fresh`` items.
        stranger: the n-th item that does not exist.
    """
    before = _open(paging.after) if paging.after is not None else ("", "")
    size = paging.limit
    if before[0] == _BEYOND:
        first = int(before[1])
        return Page([stranger(first + n) for n in range(size)], _seal((_BEYOND, str(first + size))))
    if page.next_page is not None:
        return page
    match way:
        case "cycle":
            cursor = ("\uffff" if paging.order == "desc" else "", "")
        case "empty":
            cursor = sorting.place(page.items[-1]) if page.items else before
        case _:
            cursor = (_BEYOND, "0")
    return Page(page.items, _seal(cursor))


def _start(items: Sequence[T], place: tuple[str, str], sorting: Sorting[T], order: str) -> int:
    likely = _halved(items, place, sorting, order)
    if likely and sorting.tie(items[likely - 1]) == place[1]:
        return likely  # an account of 40,000 has hundreds of pages
    for index in range(len(items) - 1, -1, -1):
        if sorting.tie(items[index]) == place[1]:
            return index + 1
    # the item that the last page ended with is gone: go on where it stood
    for index, item in enumerate(items):
        if (sorting.place(item) > place) if order == "asc" else (sorting.place(item) < place):
            return index
    return len(items)


def _halved(items: Sequence[T], place: tuple[str, str], sorting: Sorting[T], order: str) -> int:
    """How many stand up to that place, as far as the items are in order."""
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2
        at = sorting.place(items[middle])
        if (at <= place) if order == "asc" else (at >= place):
            low = middle + 1
        else:
            high = middle
    return low


def _seal(place: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _open(cursor: str) -> tuple[str, str]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return msgspec.json.decode(text, type=tuple[str, str])
    except (binascii.Error, ValueError, msgspec.DecodeError) as e:
        raise Refusal("after: Invalid cursor", subject="query") from e
