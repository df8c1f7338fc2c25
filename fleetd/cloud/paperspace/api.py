"""The v1 API call for call: the vendor's names in, its JSON out.

Paths, parameters and shapes: the types that the vendor's CLI is generated from. That start, stop and restart send
``{}`` and that a delete sends nothing: the CLI's client, whose requests ours equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleetd.cloud.about import must_be_about, must_be_made
from fleetd.cloud.calls import Effect, Sender
from fleetd.cloud.listing import Reading, check_filters
from fleetd.cloud.paperspace import wire
from fleetd.cloud.paperspace.pages import PAGE_SIZE, Fetch, Page, read_on, read_proven
from fleetd.cloud.paperspace.proof import read_once
from fleetd.cloud.paperspace.requests import Requests, within
from fleetd.cloud.port import Json, Progress, Rows, freely
from fleetd.cloud.proof import Proof, ids_of
from fleetd.cloud.waiting import Eyes, wait_until
from fleetd.model.errors import Ambiguous, CloudError, NotFound, Unauthorized, Unsupported
from fleetd.model.machine import RISES
from fleetd.model.vendor_v1 import V1_LIST_FILTERS, V1_LOCAL_FILTERS

EVENT_PAGES = 5
"""How many pages of a machine's events are read in search of one, at most."""

_LOCAL_NAMES = {"machineId": "id"}


class PaperspaceApi:
    """Implements ``port.MachinesApi``, and what ``check --online`` and the snapshot check need.

    Args:
        http: a client that speaks to the v1 API; ``aclose`` closes it.
        repeat_writes: whether start, stop, destroy, update and set_access are made again when their outcome is not
            known. A create or a restart never is.
    """

    def __init__(self, http: Sender, *, repeat_writes: bool = True) -> None:
        self._requests = Requests(http, repeat_writes=repeat_writes)
        self._proof: Proof | None = None
        """Of the last long listing that lacked nothing."""

    def through(self, http: Sender) -> PaperspaceApi:
        """The same API, with what has been learnt of it, through another sender."""
        other = PaperspaceApi(http)
        other._requests = self._requests.through(http)
        return other

    async def list(self, filters: Mapping[str, object]) -> Rows:
        """All machines that match, each id once; ``limit`` cuts the list. None as a filter is left out.

        What the API cannot filter by (``V1_LOCAL_FILTERS``) is matched here.

        Raises:
            Refused: there is no such filter; nothing was sent.
            CloudError: a page failed.
        """
        wanted = {name: value for name, value in filters.items() if value is not None}
        check_filters(wanted, {**V1_LIST_FILTERS, **V1_LOCAL_FILTERS})
        local = {_LOCAL_NAMES.get(n, n): wanted.pop(n) for n in V1_LOCAL_FILTERS if n in wanted}
        limit = wanted.pop("limit", None)
        most = limit if isinstance(limit, int) and not isinstance(limit, bool) else None
        if most is not None and not local:
            wanted["limit"] = min(most, PAGE_SIZE)

        def match(items: Rows) -> Rows:
            return [item for item in items if all(item.get(name) == value for name, value in local.items())]

        reading = await read_on(
            self._fetch("list", "/machines", wanted),
            enough=None if most is None else lambda items: len(match(items)) >= most,
        )
        if reading.failure is not None:
            raise reading.failure
        return match([*reading.items])[:most]

    async def read_listing(self, progress: Progress = freely) -> Reading:
        """Every machine, with what is known of the listing's completeness. ``progress`` is called after every page.

        The first long one is read from both ends; where it lacked nothing, those after it are read once.

        Raises:
            CloudError: the first page failed.
        """
        order = {"orderBy": "dtCreated"}
        forward = self._fetch("list", "/machines", {**order, "order": "asc"}, on_page=lambda _page: progress())
        backward = self._fetch("list", "/machines", {**order, "order": "desc"}, on_page=lambda _page: progress())
        if self._proof is not None:
            found = await read_once(forward, backward, self._proof, self._entry)
            if found is not None:
                reading, self._proof = found
                return reading
        begun: set[str] = set()

        async def noted(after: str | None) -> Page:
            page = await backward(after)
            begun.update(ids_of(page.items))
            return page

        reading = await read_proven(forward, noted)
        if reading.complete:
            self._proof = Proof(frozenset(ids_of(reading.items)), frozenset(begun)) if begun else None
        return reading

    async def _entry(self, machine_id: str) -> Json | None:
        """A machine as a listing has it; None where it is gone."""
        try:
            content = await self.machine(machine_id)
        except NotFound:
            return None
        return None if wire.is_deleted(content) else content

    async def read_end(self, pages: int, *, newest: bool, enough: Callable[[Rows], bool]) -> tuple[Reading, int]:
        """The listing from one end on, and how many pages that took; it proves nothing of what it lacks.

        Args:
            pages: to read at most.
            newest: which end.
            enough: asked after each page whether that will do.

        Raises:
            CloudError: the first page failed.
        """
        query = {"orderBy": "dtCreated", "order": "desc" if newest else "asc"}
        fetch = self._fetch("list", "/machines", query)
        asked = 0

        async def counted(after: str | None) -> Page:
            nonlocal asked
            asked += 1
            return await fetch(after)

        reading = await read_on(counted, enough=lambda items: asked >= pages or enough(items))
        return reading, asked

    async def show(self, machine_id: str) -> Json:
        """One machine, with its events as ``events``, newest first, at least as far back as its last start.

        ``events`` is null where they cannot be read: the machine itself says what it is.
        """
        return (await self.look(machine_id))[0]

    async def look(self, machine_id: str, *, patient: bool = True) -> tuple[Json, CloudError | None]:
        """The same, and why its events cannot be read. ``patient``: whether those are asked for again then.

        The events are asked for first, so that the machine is never older than they are.
        """
        within(machine_id, operation="show")
        events: Rows | None = None
        problem: CloudError | None = None
        try:
            events = await self.events(machine_id, patient=patient)
        except Unauthorized:
            raise
        except CloudError as e:
            problem = e
        return {**await self.machine(machine_id), "events": events}, problem

    async def machine(self, machine_id: str) -> Json:
        """One machine without its events."""
        path = within("machines", machine_id, operation="show")
        content = await self._requests.get("show", path, about=machine_id)
        must_be_about(machine_id, content, operation="show")
        return content

    async def events(
        self,
        machine_id: str,
        *,
        back_to: Callable[[Json], bool] = lambda event: event.get("name") in RISES,
        most: int = EVENT_PAGES,
        patient: bool = True,
    ) -> Rows:
        """Its events, newest first, as far back as one of a kind: by default its last start. ``most`` in pages.

        An entry that is not this machine's is none of its events. One that has no id of its own has no name either:
        something was there, and the last start may be it.
        """
        pages: list[Page] = []
        query = {"machineId": machine_id, "orderBy": "dtCreated", "order": "desc"}
        fetch = self._fetch(
            "events", "/machine-events", query, about=machine_id, patient=patient, on_page=pages.append
        )
        reading = await read_on(fetch, enough=lambda items: len(pages) >= most or any(map(back_to, items)))
        if reading.failure is not None:
            raise reading.failure
        # A feed that ignored the filter would show other machines' events as this one's.
        seen = (item for page in pages for item in page.items)
        return _told_apart([item for item in seen if item.get("machineId") == machine_id])

    async def create(self, parameters: Mapping[str, object]) -> Json:
        """Create one machine. Never repeated.

        Raises:
            Ambiguous: it may exist now.
        """
        answer = await self._requests.write(
            "create", "POST", "/machines", dict(parameters), effect=Effect.ONCE, needs="data"
        )
        made, event = (answer or {}).get("data"), (answer or {}).get("event")
        if not isinstance(made, dict) or not isinstance(made.get("id"), str):
            raise Ambiguous("the answer is not a machine", operation="create")
        must_be_made(parameters.get("name"), made)
        must_be_about(made["id"], answer, operation="create", write=True)
        return {**made, "events": [event] if isinstance(event, dict) else []}

    async def start(self, machine_id: str) -> Json | None:
        """Start it."""
        return await self._patch(machine_id, "start")

    async def stop(self, machine_id: str) -> Json | None:
        """Stop it."""
        return await self._patch(machine_id, "stop")

    async def restart(self, machine_id: str) -> Json | None:
        """Restart it. Never repeated: each call restarts it once more."""
        return await self._patch(machine_id, "restart", effect=Effect.ONCE)

    async def destroy(self, machine_id: str, *, release_public_ip: bool | None = None) -> Json | None:
        """Delete it; what becomes of its public address is the vendor's business.

        Raises:
            Unsupported: ``release_public_ip`` is given; the API has no such parameter. Nothing was sent.
        """
        if release_public_ip is not None:
            raise Unsupported("the v1 API cannot release an address with the machine", operation="destroy")
        path = within("machines", machine_id, operation="destroy")
        answer = await self._requests.write("destroy", "DELETE", path, about=machine_id)
        must_be_about(machine_id, answer, operation="destroy", write=True)
        return answer

    async def update(self, machine_id: str, changes: Mapping[str, object]) -> Json | None:
        """Change attributes, by the API's names."""
        path = within("machines", machine_id, operation="update")
        answer = await self._requests.write("update", "PUT", path, dict(changes), about=machine_id)
        must_be_about(machine_id, answer, operation="update", write=True)
        return answer

    async def set_access(self, machine_id: str, user_id: str, *, enable_access: bool) -> Json | None:
        """Give a user access to the machine, or take it away."""
        path = within("machines", machine_id, "accessors", operation="set_access")
        if enable_access:
            return await self._requests.write("set_access", "POST", path, {"userId": user_id}, about=machine_id)
        path = within("machines", machine_id, "accessors", user_id, operation="set_access")
        return await self._requests.write("set_access", "DELETE", path, about=machine_id)

    async def utilization(self, machine_id: str, billing_month: str) -> Json:
        """There is no such call.

        Raises:
            Unsupported: always.
        """
        del machine_id, billing_month
        raise Unsupported(
            "the v1 API tells no utilization; fleetd cost works it out from rates and events",
            operation="utilization",
        )

    async def availability(self, region: str, machine_type: str) -> Json:
        """Whether such a machine can be had there now: ``{"available": bool}``."""
        return await self._requests.get(
            "availability", "/machine-availability", {"machineType": machine_type, "region": region}
        )

    async def wait_for(self, machine_id: str, state: str, *, timeout: float, poll: float = 5.0) -> Json:
        """Poll ``show`` until the machine is in ``state`` and return it; see ``waiting.wait_until``."""

        async def look() -> Json:
            return await self.show(machine_id)

        async def listed() -> bool:
            return any(item.get("id") == machine_id for item in await self.list({}))

        return await wait_until(Eyes(look, wire.read_machine, listed), state, timeout=timeout, poll=poll)

    async def snapshots(self, machine_id: str | None = None) -> Rows:
        """Snapshots (``id``, ``name``, ``machineId``, ``isAutoSnapshot``), newest first; they carry no date."""
        query = {"machineId": machine_id, "orderBy": "dtCreated", "order": "desc"}
        return await self._all("snapshots", "/snapshots", query, about=machine_id or "")

    async def templates(self) -> Rows:
        """The vendor's templates (``id``, ``name``, ``availableMachineTypes``, ...)."""
        return await self._all("templates", "/os-templates", {})

    async def custom_templates(self) -> Rows:
        """The account's own templates (``id``, ``name``, ``region``, ...)."""
        return await self._all("custom_templates", "/custom-templates", {})

    async def all_templates(self) -> Rows:
        """The vendor's templates, and the account's own: they have a ``region``."""
        return [*await self.templates(), *await self.custom_templates()]

    async def networks(self) -> Rows:
        """The account's private networks (``id``, ``name``, ``region``, ...)."""
        return await self._all("networks", "/private-networks", {})

    async def scripts(self) -> Rows:
        """The account's startup scripts (``id``, ``name``, ...)."""
        return await self._all("scripts", "/startup-scripts", {})

    async def session(self) -> Json:
        """Whose key it is, and the team's limits: ``user``, ``team`` with ``maxMachines``, ..."""
        return await self._requests.get("session", "/auth/session")

    async def account_standing(self) -> Json:
        """Whether the account may be used: ``isInGoodStanding``, ``isAdminLocked``, ``messages``, ..."""
        return await self._requests.get("account", "/billing/account-standing")

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        await self._requests.aclose()

    def _fetch(
        self,
        operation: str,
        path: str,
        query: Mapping[str, object],
        *,
        about: str = "",
        patient: bool = True,
        on_page: Callable[[Page], None] = lambda _page: None,
    ) -> Fetch:
        async def fetch(after: str | None) -> Page:
            page = await self._requests.page(operation, path, query, after, about=about, patient=patient)
            on_page(page)
            return page

        return fetch

    async def _all(self, operation: str, path: str, query: Mapping[str, object], *, about: str = "") -> Rows:
        reading = await read_on(self._fetch(operation, path, query, about=about))
        if reading.failure is not None:
            raise reading.failure
        return [item for item in reading.items if item.get("dtDeleted") is None]

    async def _patch(self, machine_id: str, verb: str, *, effect: Effect = Effect.REPEATABLE) -> Json | None:
        path = within("machines", machine_id, verb, operation=verb)
        answer = await self._requests.write(verb, "PATCH", path, {}, effect=effect, about=machine_id)
        must_be_about(machine_id, answer, operation=verb, write=True)
        return answer


def _told_apart(events: Rows) -> Rows:
    """Each event once, the last copy in the first one's place; one that cannot be told from others has no name."""
    kinds: dict[str, set[str]] = {}
    for event in events:
        if isinstance(event.get("id"), str):
            kinds.setdefault(event["id"], set()).add(repr((event.get("name"), event.get("dtCreated"))))
    rows: dict[str | int, Json] = {}
    for number, event in enumerate(events):
        id_ = event.get("id")
        if isinstance(id_, str) and len(kinds[id_]) == 1:
            rows[id_] = event
        else:
            rows[number] = {**event, "id": None, "name": None}
    return list(rows.values())
