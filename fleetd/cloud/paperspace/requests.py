"""Requests of the v1 API: how parameters travel, and what every answer has in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fleetd.cloud.calls import Call, Effect, Sender, in_query
from fleetd.cloud.listing import MOST_ENTRIES
from fleetd.cloud.paperspace.errors import is_complaint
from fleetd.cloud.paperspace.pages import PAGE_SIZE, Page
from fleetd.cloud.port import Json
from fleetd.model.errors import Refused


class Requests:
    """Sends requests; answers with parsed JSON.

    Args:
        http: a client that speaks to the v1 API.
        repeat_writes: whether writes that are safe to repeat are made again when their outcome is not known.
    """

    def __init__(self, http: Sender, *, repeat_writes: bool) -> None:
        self._http = http
        self._repeat_writes = repeat_writes
        self._page_size: int | None = PAGE_SIZE

    def through(self, http: Sender) -> Requests:
        """The same, with the page size that has been learnt, through another sender."""
        other = Requests(http, repeat_writes=self._repeat_writes)
        other._page_size = self._page_size
        return other

    async def get(
        self,
        operation: str,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        about: str = "",
        patient: bool = True,
    ) -> Json:
        """An object.

        Args:
            operation: what errors and metrics call it.
            path: below the base URL.
            query: its parameters.
            about: the machine that the call is about, if it is about one.
            patient: whether it is made again where it fails.

        Raises:
            CloudError: it did not come.
        """
        call = Call(operation, "GET", path, query=in_query(query or {}), names_machine=bool(about), patient=patient)
        content = await self._send(call)
        if not isinstance(content, dict):
            raise self._http.malformed(call, "the answer is not an object")
        return content

    async def page(
        self,
        operation: str,
        path: str,
        query: Mapping[str, object],
        after: str | None,
        *,
        about: str,
        patient: bool,
    ) -> Page:
        """One page of a list; ``about`` and ``patient`` as in ``get``.

        Raises:
            CloudError: it did not come, or is no page.
        """
        limit = query.get("limit", self._page_size)
        cursor = query.get("after") if after is None else after
        asked = {**query, "limit": limit, "after": cursor}
        try:
            content = await self.get(operation, path, asked, about=about, patient=patient)
        except Refused as e:
            ours = self._page_size is not None and "limit" not in query
            if not (ours and e.status in {400, 422} and "limit" in e.message.lower()):
                raise
            self._page_size = None
            content = await self.get(operation, path, {**query, "after": cursor}, about=about, patient=patient)
        return self._read_page(Call(operation, "GET", path), content)

    async def write(
        self,
        operation: str,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        effect: Effect = Effect.REPEATABLE,
        needs: str | None = None,
        about: str = "",
    ) -> Json | None:
        """A write; its answer's object, or None when it has none. ``needs``: what must be an object in it.

        Raises:
            CloudError: it was declined, or what came of it is not known.
        """
        call = Call(
            operation,
            method,
            path,
            effect,
            body=body,
            names_machine=bool(about),
            repeat_write=self._repeat_writes,
            needs_body=needs is not None,
        )
        content = await self._send(call)
        if needs is not None and not (isinstance(content, dict) and isinstance(content.get(needs), dict)):
            raise self._http.malformed(call, f"the answer has no {needs}")
        return content if isinstance(content, dict) else None

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        await self._http.aclose()

    async def _send(self, call: Call) -> Any:
        answer = await self._http.send(call)
        content = self._http.read_json(call, answer)
        if is_complaint(content):
            raise self._http.declined(call, answer)
        return content

    def _read_page(self, call: Call, content: Json) -> Page:
        items, more, cursor = content.get("items"), content.get("hasMore"), content.get("nextPage")
        if not isinstance(items, list) or not isinstance(more, bool):
            raise self._http.malformed(call, "the answer is not a page: items or hasMore is missing")
        if len(items) > MOST_ENTRIES:
            raise self._http.malformed(call, f"the answer has {len(items)} entries")
        if not more:
            return Page([_entry(item) for item in items], None)
        if isinstance(cursor, bool) or not isinstance(cursor, str | int) or cursor == "":
            raise self._http.malformed(call, "there are more pages, and no cursor that leads to them")
        return Page([_entry(item) for item in items], str(cursor))


def within(*parts: str, operation: str) -> str:
    """A path of these segments, ids among them.

    Raises:
        Refused: one of them is no id; nothing was sent.
    """
    for part in parts:
        if part in {"", ".", ".."}:
            raise Refused(f"{part!r} is no id; nothing was sent", operation=operation)
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _entry(item: object) -> Json:
    """The entry; empty where it is no object."""
    return item if isinstance(item, dict) else {}
