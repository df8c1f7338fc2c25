"""The Core API call for call: the vendor's names in, its JSON out.

Paths and parameters: the vendor's machines page. That a POST repeats ``machineId`` in its body: the vendor's own
client for node, whose requests ours equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from fleetd.cloud.about import must_be_about, must_be_made
from fleetd.cloud.calls import Call, Effect, Sender, in_query
from fleetd.cloud.core import wire
from fleetd.cloud.core.once import Once
from fleetd.cloud.core.pages import MOST_PAGES, Source, read_all
from fleetd.cloud.listing import MOST_ENTRIES, Reading, check_filters, identity
from fleetd.cloud.port import Json, Progress, Rows, freely
from fleetd.cloud.waiting import Eyes, wait_until
from fleetd.model.errors import CloudError, MalformedAnswer, Refused
from fleetd.model.vendor import CORE_LIST_FILTERS, CORE_LOCAL_FILTERS

PAGE_SIZE = 1000
"""Machines in a full page: the vendor's default for ``limit``."""


class CoreApi:
    """Implements ``port.MachinesApi``, and the lists that ``check --online`` needs.

    Args:
        http: a client that speaks to the Core API; ``aclose`` closes it.
        repeat_writes: whether start, stop, destroy, update and set_access are made again when their outcome is not
            known. A create or a restart never is.
    """

    def __init__(self, http: Sender, *, repeat_writes: bool = True) -> None:
        self._http = http
        self._repeat_writes = repeat_writes
        self._pages: int | None = None
        """How many a listing of everything had when it was last read whole."""
        self._once = Once()

    async def list(self, filters: Mapping[str, object]) -> Rows:
        """All machines that match, each id once; ``limit`` and ``skip`` may cut it. None as a filter is left out.

        ``machineType``, which the API cannot filter by, is matched here.

        Raises:
            Refused: there is no such filter; nothing was sent.
            CloudError: a page failed.
        """
        reading = await self.read_listing(filters)
        if reading.failure is not None:
            raise reading.failure
        return [*reading.items]

    async def read_listing(
        self, filters: Mapping[str, object], *, prove: bool = False, progress: Progress = freely
    ) -> Reading:
        """The same, with what is known of its completeness.

        ``prove`` has it read twice where pages could slip: a listing of everything only until one lacked nothing.

        ``progress`` is called after every page.

        Raises:
            CloudError: the first page failed.
        """
        wanted = {name: value for name, value in filters.items() if value is not None}
        check_filters(wanted, {**CORE_LIST_FILTERS, **CORE_LOCAL_FILTERS})
        local = {name: wanted.pop(name) for name in CORE_LOCAL_FILTERS if name in wanted}
        if not local:
            return await self._read_pages(wanted, prove=prove, progress=progress)
        start, limit = _number(wanted.pop("skip", None)) or 0, _number(wanted.pop("limit", None))
        reading = await self._read_pages(wanted, prove=prove, progress=progress)
        found = [item for item in reading.items if all(item.get(name) == value for name, value in local.items())]
        kept = found[start:] if limit is None else found[start : start + limit]
        return Reading(tuple(kept), reading.moved, reading.failure)

    async def read_page(self, number: int) -> Rows:
        """One page of the listing of everything, from 0; it proves nothing of the others."""
        query = {"limit": PAGE_SIZE, "skip": number * PAGE_SIZE} if number else {}
        return await self._get_list("list", "/machines/getMachines", query)

    async def show(self, machine_id: str) -> Json:
        """One machine with its events."""
        query = {"machineId": machine_id}
        return await self._get_object("show", "/machines/getMachinePublic", query, about=machine_id)

    async def create(self, parameters: Mapping[str, object]) -> Json:
        """Create one machine. Never repeated.

        Raises:
            Ambiguous: it may exist now.
        """
        call = Call(
            "create",
            "POST",
            "/machines/createSingleMachinePublic",
            Effect.ONCE,
            body=dict(parameters),
            needs_body=True,
        )
        answer = await self._http.send(call)
        content = self._http.read_json(call, answer)
        if not isinstance(content, dict) or not isinstance(content.get("id"), str):
            raise self._http.malformed(call, "the answer is not a machine", status=answer.status)
        must_be_made(parameters.get("machineName"), content)
        return content

    async def start(self, machine_id: str) -> Json | None:
        """Start it; a no-op when it is up."""
        return await self._post("start", machine_id, "start", {})

    async def stop(self, machine_id: str) -> Json | None:
        """Stop it; a no-op when it is off."""
        return await self._post("stop", machine_id, "stop", {})

    async def restart(self, machine_id: str) -> Json | None:
        """Restart it. Never repeated: each call restarts it once more."""
        return await self._post("restart", machine_id, "restart", {}, effect=Effect.ONCE)

    async def destroy(self, machine_id: str, *, release_public_ip: bool | None = None) -> Json | None:
        """Destroy it and its snapshots; its public address is kept unless released."""
        body = {} if release_public_ip is None else {"releasePublicIp": release_public_ip}
        return await self._post("destroy", machine_id, "destroyMachine", body)

    async def update(self, machine_id: str, changes: Mapping[str, object]) -> Json | None:
        """Change attributes, by the API's names; null as ``autoSnapshotFrequency`` turns automatic snapshots off."""
        return await self._post("update", machine_id, "updateMachinePublic", changes)

    async def set_access(self, machine_id: str, user_id: str, *, enable_access: bool) -> Json | None:
        """Give a user access to the machine, or take it away."""
        body = {"userId": user_id, "enableAccess": enable_access}
        return await self._post("set_access", machine_id, "setMachineAccess", body)

    async def utilization(self, machine_id: str, billing_month: str) -> Json:
        """Use in one billing month (``YYYY-MM``)."""
        query = {"machineId": machine_id, "billingMonth": billing_month}
        return await self._get_object("utilization", "/machines/getUtilization", query, about=machine_id)

    async def availability(self, region: str, machine_type: str) -> Json:
        """Whether such a machine can be had now: ``{"available": bool}``."""
        query = {"region": region, "machineType": machine_type}
        return await self._get_object("availability", "/machines/getAvailability", query)

    async def wait_for(self, machine_id: str, state: str, *, timeout: float, poll: float = 5.0) -> Json:
        """Poll ``show`` until the machine is in ``state`` and return it; see ``waiting.wait_until``."""

        async def look() -> Json:
            # The vendor's client sends the state along, though the answer does not depend on it.
            query = {"machineId": machine_id, "state": state}
            return await self._get_object("show", "/machines/getMachinePublic", query, about=machine_id)

        async def listed() -> bool:
            return any(item.get("id") == machine_id for item in await self.list({"machineId": machine_id}))

        return await wait_until(Eyes(look, wire.read_machine, listed), state, timeout=timeout, poll=poll)

    async def networks(self, filters: Mapping[str, object] | None = None) -> Rows:
        """The account's networks (``id``, ``name``, ``region``, ...)."""
        return await self._get_list("networks", "/networks/getNetworks", filters or {})

    async def templates(self, filters: Mapping[str, object] | None = None) -> Rows:
        """The templates that machines can be made from (``id``, ``name``, ``label``, ``os``, ...)."""
        return await self._get_list("templates", "/templates/getTemplates", filters or {})

    async def all_templates(self) -> Rows:
        """The vendor's templates, and the account's own: they have a ``teamId`` and a ``region``."""
        return await self.templates()

    async def users(self, filters: Mapping[str, object] | None = None) -> Rows:
        """The team's users (``id``, ``email``, ...)."""
        return await self._get_list("users", "/users/getUsers", filters or {})

    async def scripts(self, filters: Mapping[str, object] | None = None) -> Rows:
        """The account's startup scripts (``id``, ``name``, ...)."""
        return await self._get_list("scripts", "/scripts/getScripts", filters or {})

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        await self._http.aclose()

    async def _read_pages(self, filters: Mapping[str, object], *, prove: bool, progress: Progress) -> Reading:
        start, limit = _number(filters.get("skip")) or 0, _number(filters.get("limit"))
        most = MOST_PAGES if limit is None else max(1, -(-limit // PAGE_SIZE))

        async def fetch(query: Mapping[str, object]) -> Rows:
            rows = await self._get_list("list", "/machines/getMachines", query)
            progress()
            return rows

        async def entries(position: int) -> Rows:
            query = {**filters, "limit": PAGE_SIZE, "skip": start + position}
            return await fetch(query)

        async def page(number: int) -> Rows:
            if number:
                return await entries(number * PAGE_SIZE)
            # The first page is asked for as the caller put it: by default without a limit, which is PAGE_SIZE then.
            query = filters if limit is None or limit <= PAGE_SIZE else {**filters, "limit": PAGE_SIZE}
            return await fetch(query)

        source = Source(page, entries, size=PAGE_SIZE, width=self._http.limits.max_concurrency)
        everything = not filters
        if everything and prove:
            once = await self._once.read(source, self._entry)
            if once is not None:
                return once
        reading = await read_all(source, most=most, prove=prove, expected=self._pages if everything else None)
        if everything and reading.complete:
            self._pages = len(reading.items) // PAGE_SIZE + 1
            if prove:
                self._once.learn(reading)
        return reading if limit is None else Reading(reading.items[:limit], reading.moved, reading.failure)

    async def _entry(self, machine_id: str) -> Json | None:
        """A machine as a listing has it; None where it is gone: the listing of it alone has nothing.

        What ``show`` says against it is not enough. It may be wrong, and may be wrong for good.

        Raises:
            CloudError: nobody tells.
        """
        with suppress(CloudError):
            return await self.show(machine_id)
        rows = await self._get_list("list", "/machines/getMachines", {"machineId": machine_id})
        if any(identity(row) != machine_id for row in rows):
            raise MalformedAnswer(f"asked for {machine_id} alone, answered with others", operation="list")
        return rows[0] if rows else None

    async def _get_object(self, operation: str, path: str, query: Mapping[str, object], *, about: str = "") -> Json:
        call = Call(operation, "GET", path, query=in_query(query), names_machine=bool(about))
        content = await self._get(call)
        if not isinstance(content, dict):
            raise self._http.malformed(call, "the answer is not an object")
        if about:
            must_be_about(about, content, operation=operation)
        return content

    async def _get_list(self, operation: str, path: str, query: Mapping[str, object]) -> Rows:
        call = Call(operation, "GET", path, query=in_query(query))
        content = await self._get(call)
        if not isinstance(content, list):
            raise self._http.malformed(call, "the answer is not an array")
        if len(content) > MOST_ENTRIES:
            raise self._http.malformed(call, f"the answer has {len(content)} entries")
        return [entry if isinstance(entry, dict) else {} for entry in content]

    async def _get(self, call: Call) -> Any:
        return self._http.read_json(call, await self._http.send(call))

    async def _post(
        self,
        operation: str,
        machine_id: str,
        verb: str,
        parameters: Mapping[str, object],
        *,
        effect: Effect = Effect.REPEATABLE,
    ) -> Json | None:
        if machine_id in {"", ".", ".."}:
            raise Refused(f"{machine_id!r} is not a machine id; nothing was sent", operation=operation)
        call = Call(
            operation,
            "POST",
            f"/machines/{quote(machine_id, safe='')}/{verb}",
            effect,
            body={"machineId": machine_id, **parameters},
            names_machine=True,
            repeat_write=self._repeat_writes,
        )
        content = self._http.read_json(call, await self._http.send(call))
        if operation != "set_access":  # that may tell of the user
            must_be_about(machine_id, content, operation=operation, write=True)
        return content if isinstance(content, dict) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
