"""The v1 API, served from the same world, as the vendor's CLI and the types it is generated from show it.

As strict as the Core dialect: what the types do not know is refused, with a tRPC code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleetd.simulator import v1_account as account
from fleetd.simulator import v1_json as form
from fleetd.simulator import v1_machines as machines
from fleetd.simulator.faultplan import Decision, FaultPlan, Target
from fleetd.simulator.records import MachineRecord, Refusal
from fleetd.simulator.v1_call import V1Call
from fleetd.simulator.wire import Answer, Request, json_answer, target_of
from fleetd.simulator.world import World

CODES: Mapping[int, str] = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    408: "TIMEOUT",
    409: "CONFLICT",
    412: "PRECONDITION_FAILED",
    413: "PAYLOAD_TOO_LARGE",
    429: "TOO_MANY_REQUESTS",
    499: "CLIENT_CLOSED_REQUEST",
}
"""tRPC's code for each status; INTERNAL_SERVER_ERROR for all others."""


@dataclass(frozen=True, slots=True)
class _Route:
    name: str
    run: Callable[[V1Call], Answer]
    of: str = "machine"
    """What the id in the path is of; when that does not exist, the answer is NOT_FOUND."""


class V1Api:
    """The v1 dialect over one world."""

    name = "v1"

    def __init__(self, world: World) -> None:
        self.world = world

    def target(self, request: Request) -> Target:
        """What the request is about; for an unknown path, an operation without a name."""
        route, id_, _ = _find(request)
        write = request.method != "GET"
        if route is None:
            return Target("", write)
        machine_id = id_ if route.of == "machine" else None
        return target_of(request, self.world.machines, route.name, machine_id, write=write, named="name")

    def key_of(self, request: Request) -> str | None:
        """The header Authorization: Bearer."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else None

    def wrong_key(self) -> Answer:
        """401, with tRPC's code."""
        return self.failure(401, "Invalid API key")

    def failure(self, status: int, message: str) -> Answer:
        """The body in which the vendor reports errors."""
        return json_answer(status, {"code": CODES.get(status, "INTERNAL_SERVER_ERROR"), "message": message})

    def about(self, operation: str, record: MachineRecord) -> Answer:
        """The machine; from everything but show with an event."""
        machine = form.machine(record, self.world.clock)
        return json_answer(200, machine if operation == "show" else {"data": machine, "event": None})

    def answer(self, request: Request, decision: Decision, plan: FaultPlan) -> Answer:
        """Carry the request out, or refuse it."""
        route, id_, other_id = _find(request)
        if route is None:
            return self.failure(404, "Not found")
        try:
            return route.run(V1Call(self.world, request, id_, other_id, decision, plan))
        except Refusal as e:
            if e.subject == "state":
                return self.failure(409, e.message)
            absent = e.missing and e.subject in {"machine", route.of}
            return self.failure(404 if absent else 400, e.message)


_ROUTES: Mapping[tuple[str, ...], _Route] = {
    ("GET", "machines"): _Route("list", machines.list_machines),
    ("POST", "machines"): _Route("create", machines.create),
    ("GET", "machines", ""): _Route("show", machines.show),
    ("PUT", "machines", ""): _Route("update", machines.update),
    ("DELETE", "machines", ""): _Route("destroy", machines.destroy),
    ("PATCH", "machines", "", "start"): _Route("start", machines.start),
    ("PATCH", "machines", "", "stop"): _Route("stop", machines.stop),
    ("PATCH", "machines", "", "restart"): _Route("restart", machines.restart),
    ("GET", "machine-availability"): _Route("availability", account.availability),
    ("GET", "machines", "", "accessors"): _Route("accessors", machines.accessors),
    ("GET", "machines", "", "accessors", ""): _Route("accessor", machines.accessor),
    ("POST", "machines", "", "accessors"): _Route("set_access", machines.add_accessor),
    ("DELETE", "machines", "", "accessors", ""): _Route("set_access", machines.remove_accessor),
    ("GET", "machine-events"): _Route("events", machines.events),
    ("GET", "machine-events", ""): _Route("event", machines.event, of="event"),
    ("GET", "snapshots"): _Route("snapshots", account.snapshots),
    ("POST", "snapshots"): _Route("create_snapshot", account.create_snapshot),
    ("GET", "snapshots", ""): _Route("snapshot", account.snapshot, of="snapshot"),
    ("PUT", "snapshots", ""): _Route("rename_snapshot", account.rename_snapshot, of="snapshot"),
    ("DELETE", "snapshots", ""): _Route("delete_snapshot", account.delete_snapshot, of="snapshot"),
    ("POST", "snapshots", "", "restore"): _Route("restore_snapshot", account.restore_snapshot, of="snapshot"),
    ("GET", "os-templates"): _Route("templates", account.os_templates),
    ("GET", "custom-templates"): _Route("custom_templates", account.custom_templates),
    ("GET", "custom-templates", ""): _Route("custom_template", account.custom_template, of="template"),
    ("PUT", "custom-templates", ""): _Route("rename_template", account.rename_custom_template, of="template"),
    ("DELETE", "custom-templates", ""): _Route("delete_template", account.delete_custom_template, of="template"),
    ("GET", "public-ips"): _Route("public_ips", account.public_ips),
    ("GET", "private-networks"): _Route("networks", account.networks),
    ("GET", "private-networks", ""): _Route("network", account.network, of="network"),
    ("PUT", "private-networks", ""): _Route("rename_network", account.rename_network, of="network"),
    ("DELETE", "private-networks", ""): _Route("delete_network", account.delete_network, of="network"),
    ("POST", "private-networks"): _Route("create_network", account.create_network),
    ("GET", "startup-scripts"): _Route("scripts", account.scripts),
    ("GET", "startup-scripts", ""): _Route("script", account.script, of="script"),
    ("PUT", "startup-scripts", ""): _Route("change_script", account.change_script, of="script"),
    ("DELETE", "startup-scripts", ""): _Route("delete_script", account.delete_script, of="script"),
    ("POST", "startup-scripts"): _Route("create_script", account.create_script),
    ("POST", "startup-scripts", "", "assign"): _Route("assign_script", account.assign_script, of="script"),
    ("POST", "startup-scripts", "", "unassign"): _Route("unassign_script", account.unassign_script, of="script"),
    ("GET", "auth", "session"): _Route("session", account.session, of=""),
    ("GET", "billing", "account-standing"): _Route("account", account.account, of=""),
}


def _find(request: Request) -> tuple[_Route | None, str, str]:
    parts = request.segments[1:]  # without v1
    exact = _ROUTES.get((request.method, *parts))
    if exact is not None:
        return exact, "", ""
    blanked = tuple("" if index in {1, 3} else part for index, part in enumerate(parts))
    first, second = (parts[index] if index < len(parts) else "" for index in (1, 3))
    return _ROUTES.get((request.method, *blanked)), first, second
