"""What a handler of the v1 API is given, and the answers that all of them build."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fleetd.simulator.faultplan import Decision, FaultPlan
from fleetd.simulator.v1_pages import Paging, Sorting, cut
from fleetd.simulator.wire import Answer, Request, json_answer
from fleetd.simulator.world import World

T = TypeVar("T")

_FAR = 1e12


@dataclass(frozen=True, slots=True)
class V1Call:
    """One request on its way through a handler."""

    world: World
    request: Request
    id: str
    """The path's first id, "" where it has none."""
    other_id: str
    """The path's second id."""
    decision: Decision
    plan: FaultPlan


def page_answer(items: list[Any], next_page: str | None) -> Answer:
    """One page, as every list answers."""
    return json_answer(200, {"hasMore": next_page is not None, "items": items, "nextPage": next_page}, executed=True)


def listed(forms: Iterable[dict[str, Any]], query: Paging, key: Callable[[dict[str, Any]], str]) -> Answer:
    """The page that was asked for of a short list, sorted by ``key``."""
    return arranged(list(forms), query, Sorting(key, lambda form: str(form.get("id", key(form)))), lambda form: form)


def arranged(found: Sequence[T], query: Paging, sorting: Sorting[T], form: Callable[[T], Any]) -> Answer:
    """The page that was asked for of what was found, each as ``form`` has it."""
    page = cut(sorting.arrange(found, query.order), query, sorting)
    return page_answer([form(item) for item in page.items], page.next_page)


def by_time(seconds: float) -> str:
    """World seconds as text that sorts like them, times before the epoch included."""
    return f"{seconds + _FAR:020.6f}"
