"""The Core API as the vendor's page documents it and its clients speak it, served from the world.

Strict on purpose: what the page does not know is refused, so that a client's mistake shows here first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fleetd.simulator import core_json as form
from fleetd.simulator.catalogue import MACHINE_TYPES, REGIONS
from fleetd.simulator.core_body import CREATE, UPDATE, changes_of, check_create, new_machine
from fleetd.simulator.core_params import CoreError, Param, boolean, number, read_body, read_query, text
from fleetd.simulator.faultplan import Decision, FaultPlan, Target
from fleetd.simulator.records import MachineRecord, Refusal
from fleetd.simulator.views import endless_page, list_view, page_shift, show_view
from fleetd.simulator.wire import Answer, Request, json_answer, target_of
from fleetd.simulator.world import World

PAGE = 1000
"""The most machines in one answer (the page: "The default limit is 1000 items")."""

_PARAMETER = {
    "machine_type": "machineType",
    "template": "templateId",
    "network": "networkId",
    "script": "scriptId",
    "team": "teamId",
    "user": "userId",
}
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_ID: Mapping[str, Param] = {"machineId": text(required=True)}
_FILTERS: Mapping[str, Param] = {
    "machineId": text(),
    "name": text(),
    "os": text(),
    "ram": text(),
    "cpus": number(),
    "gpu": text(),
    "storageTotal": text(),
    "storageUsed": text(),
    "machineType": text(),  # not on the page; its list has the field
    "usageRate": text(),
    "shutdownTimeoutInHours": number(),
    "performAutoSnapshot": boolean(),
    "autoSnapshotFrequency": text(),
    "autoSnapshotSaveCount": number(),
    "agentType": text(),
    "dtCreated": text(),
    "state": text(),
    "updatesPending": boolean(),
    "networkId": text(),
    "privateIpAddress": text(),
    "publicIpAddress": text(),
    "region": text(),
    "userId": text(),
    "teamId": text(),
    "scriptId": text(),
    "dtLastRun": text(),
}


def _texts(*names: str) -> Mapping[str, Param]:
    return {name: text() for name in names}


@dataclass(frozen=True, slots=True)
class CoreOptions:
    """Where the vendor's clients saw different things, which of them is served."""

    create_status: int = 200
    """200 (the Terraform provider) or 201 (the docs)."""
    not_found_status: int = 404
    """HTTP status of "Machine not found": 404, or 400 (gradient's tests). The body says 404 in either case."""
    update_body: bool = False
    """Whether update answers 200 with the machine (gradient reads a body) instead of an empty 204 (the docs)."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One request on its way through a handler."""

    params: Mapping[str, Any]
    machine_id: str
    decision: Decision
    plan: FaultPlan


@dataclass(frozen=True, slots=True)
class _Operation:
    name: str
    method: str
    params: Mapping[str, Param]
    run: Callable[[CoreApi, _Call], Answer]


class CoreApi:
    """The Core dialect over one world."""

    name = "core"

    def __init__(self, world: World, options: CoreOptions | None = None) -> None:
        self.world = world
        self.options = options or CoreOptions()

    def target(self, request: Request) -> Target:
        """What the request is about; for an unknown path, an operation without a name."""
        operation, machine_id = _find(request)
        if operation is None:
            return Target("", request.method != "GET", machine_id)
        write = operation.method == "POST"
        return target_of(request, self.world.machines, operation.name, machine_id, write=write, named="machineName")

    def key_of(self, request: Request) -> str | None:
        """The header x-api-key."""
        return request.headers.get("x-api-key")

    def wrong_key(self) -> Answer:
        """HTTP 400, as the vendor has it."""
        return json_answer(400, {"status": 400, "message": "Invalid API token"})

    def failure(self, status: int, message: str) -> Answer:
        """The body in which the vendor reports errors."""
        return json_answer(status, {"error": {"name": "Error", "status": status, "message": message}})

    def about(self, operation: str, record: MachineRecord) -> Answer:
        """The machine; from show with its events."""
        if operation == "show":
            return Answer(200, form.shown(record, self.world.clock))
        return json_answer(200, form.machine(record, self.world.clock))

    def answer(self, request: Request, decision: Decision, plan: FaultPlan) -> Answer:
        """Carry the request out, or refuse it."""
        operation, machine_id = _find(request)
        if operation is None or operation.method != request.method:
            return self.failure(404, f"There is no method to handle {request.method} {request.path}")
        try:
            if operation.method == "GET":
                params = read_query(operation.params, request)
            else:
                params = read_body(operation.params, request, machine_id)
            return operation.run(self, _Call(params, machine_id or params.get("machineId") or "", decision, plan))
        except CoreError as e:
            return self._refused(e)
        except Refusal as e:
            return self._refused(_in_core_words(e))

    def _refused(self, e: CoreError) -> Answer:
        http = self.options.not_found_status if e.message == "Machine not found" else e.status
        return json_answer(http, {"error": {"name": e.name, "status": e.status, "message": e.message}})

    def list_machines(self, call: _Call) -> Answer:
        """GET /machines/getMachines."""
        filters = dict(call.params)
        limit, skip = _count(filters, "limit", PAGE, least=1), _count(filters, "skip", 0, least=0)
        records = list_view(self.world, call.decision.views, call.plan.rng)
        if filters:
            records = [record for record in records if self._matches(record, filters)]
        start = max(0, skip + page_shift(call.decision.views)) if skip else 0
        end = start + min(limit, PAGE)
        page = endless_page(records, call.decision.views, start, end) or records[start:end]
        clock = self.world.clock
        return Answer(200, b"[" + b",".join([form.listed_bytes(r, clock) for r in page]) + b"]", executed=True)

    def show(self, call: _Call) -> Answer:
        """GET /machines/getMachinePublic."""
        record = show_view(self.world.shown(call.machine_id), call.decision.views)
        return Answer(200, form.shown(record, self.world.clock), executed=True)

    def create(self, call: _Call) -> Answer:
        """POST /machines/createSingleMachinePublic. A new user is made first, and stays when the rest is refused."""
        params = call.params
        check_create(params)
        user_id = params.get("userId")
        if "email" in params:
            user_id = self.world.account.add_user(params["email"], params["firstName"], params["lastName"]).id
        record = self.world.create(new_machine(params, user_id), call.decision.fate)
        answer = form.machine(record, self.world.clock)
        return json_answer(self.options.create_status, answer, executed=True, machine_id=record.id)

    def start(self, call: _Call) -> Answer:
        """POST /machines/{id}/start."""
        self.world.start(call.machine_id, call.decision.fate)
        return Answer(204, executed=True)

    def stop(self, call: _Call) -> Answer:
        """POST /machines/{id}/stop."""
        self.world.stop(call.machine_id, call.decision.fate)
        return Answer(204, executed=True)

    def restart(self, call: _Call) -> Answer:
        """POST /machines/{id}/restart."""
        self.world.restart(call.machine_id, call.decision.fate)
        return Answer(204, executed=True)

    def destroy(self, call: _Call) -> Answer:
        """POST /machines/{id}/destroyMachine."""
        self.world.destroy(call.machine_id, call.decision.fate, release_ip=call.params.get("releasePublicIp", False))
        return Answer(204, executed=True)

    def update(self, call: _Call) -> Answer:
        """POST /machines/{id}/updateMachinePublic."""
        record = self.world.shown(call.machine_id)
        record = self.world.update(call.machine_id, changes_of(record, call.params), call.decision.fate)
        if self.options.update_body:
            return json_answer(200, form.machine(record, self.world.clock), executed=True)
        return Answer(204, executed=True)

    def set_access(self, call: _Call) -> Answer:
        """POST /machines/{id}/setMachineAccess."""
        self.world.set_access(call.machine_id, call.params["userId"], enable=call.params["enableAccess"])
        return json_answer(200, {}, executed=True)

    def utilization(self, call: _Call) -> Answer:
        """GET /machines/getUtilization."""
        month = _MONTH.fullmatch(call.params["billingMonth"])
        if month is None or month[1] == "0000":
            raise CoreError(400, "billingMonth must be a month as YYYY-MM")
        usage = self.world.usage(call.machine_id, month[0])
        return json_answer(200, form.utilization(call.machine_id, month[0], usage), executed=True)

    def availability(self, call: _Call) -> Answer:
        """GET /machines/getAvailability; for the dedicated GPU types of the page only."""
        region, label = call.params["region"], call.params["machineType"]
        if region not in REGIONS:
            raise CoreError(400, "region not found")
        kind = MACHINE_TYPES.get(label)
        if kind is None or not kind.dedicated_gpu:
            raise CoreError(400, "machineType not found")
        t = self.world.advance()
        sold_out = (region, label) in self.world.state.no_capacity or call.plan.sold_out(region, label, t)
        return json_answer(200, {"available": not sold_out}, executed=True)

    def _matches(self, record: MachineRecord, filters: Mapping[str, Any]) -> bool:
        view = form.listed(record, self.world.clock)
        unlisted = {"machineId": record.id, "userId": record.user_id, "teamId": record.team_id}
        return all(unlisted.get(name, view.get(name)) == wanted for name, wanted in filters.items())


_OPERATIONS: Mapping[tuple[str, ...], _Operation] = {
    ("machines", "getMachines"): _Operation(
        "list", "GET", {"limit": number(), "skip": number(), **_FILTERS}, CoreApi.list_machines
    ),
    # node's waitfor is a show that carries the state along
    ("machines", "getMachinePublic"): _Operation("show", "GET", {**_ID, "state": text()}, CoreApi.show),
    ("machines", "createSingleMachinePublic"): _Operation("create", "POST", CREATE, CoreApi.create),
    ("machines", "", "start"): _Operation("start", "POST", {}, CoreApi.start),
    ("machines", "", "stop"): _Operation("stop", "POST", {}, CoreApi.stop),
    ("machines", "", "restart"): _Operation("restart", "POST", {}, CoreApi.restart),
    ("machines", "", "destroyMachine"): _Operation(
        "destroy", "POST", {"releasePublicIp": boolean()}, CoreApi.destroy
    ),
    ("machines", "", "updateMachinePublic"): _Operation("update", "POST", UPDATE, CoreApi.update),
    ("machines", "", "setMachineAccess"): _Operation(
        "set_access",
        "POST",
        {"userId": text(required=True), "enableAccess": boolean(required=True)},
        CoreApi.set_access,
    ),
    ("machines", "getUtilization"): _Operation(
        "utilization", "GET", {**_ID, "billingMonth": text(required=True)}, CoreApi.utilization
    ),
    ("machines", "getAvailability"): _Operation(
        "availability",
        "GET",
        {"region": text(required=True), "machineType": text(required=True)},
        CoreApi.availability,
    ),
    ("networks", "getNetworks"): _Operation(
        "networks",
        "GET",
        _texts("id", "name", "region", "dtCreated", "network", "netmask", "teamId"),
        lambda api, call: _filtered(map(form.network, api.world.state.networks.values()), call.params),
    ),
    ("templates", "getTemplates"): _Operation(
        "templates",
        "GET",
        _texts("id", "name", "label", "os", "dtCreated", "teamId", "userId", "region"),
        lambda api, call: _filtered(map(form.template, api.world.state.templates.values()), call.params),
    ),
    ("users", "getUsers"): _Operation(
        "users",
        "GET",
        _texts("id", "email", "firstname", "lastname", "dtCreated", "teamId"),
        lambda api, call: _filtered(map(form.user, api.world.state.users.values()), call.params),
    ),
    ("scripts", "getScripts"): _Operation(
        "scripts",
        "GET",
        {
            **_texts("id", "ownerType", "ownerId", "name", "description", "dtCreated"),
            "isEnabled": boolean(),
            "runOnce": boolean(),
        },
        lambda api, call: _filtered(map(form.script, api.world.state.scripts.values()), call.params),
    ),
}
"""By path, with nothing where the machine's id stands."""


def _find(request: Request) -> tuple[_Operation | None, str | None]:
    segments = request.segments
    operation = _OPERATIONS.get(segments)
    if operation is not None:
        return operation, None
    if len(segments) == 3:
        return _OPERATIONS.get((segments[0], "", segments[2])), segments[1]
    return None, None


def _count(filters: dict[str, Any], name: str, otherwise: int, *, least: int) -> int:
    value = filters.pop(name, None)
    if value is None:
        return otherwise
    if value != int(value) or value < least:
        raise CoreError(400, f"{name} must be a whole number, {least} or more")
    return int(value)


def _filtered(entries: Iterable[dict[str, Any]], filters: Mapping[str, Any]) -> Answer:
    found = [entry for entry in entries if all(entry.get(name) == wanted for name, wanted in filters.items())]
    return json_answer(200, found, executed=True)


def _in_core_words(e: Refusal) -> CoreError:
    if e.subject == "machine":
        return CoreError(404, e.message)
    if e.missing:
        return CoreError(400, f"{_PARAMETER.get(e.subject, e.subject)} not found")
    return CoreError(400, e.message)
