"""The v1 API's other things: snapshots, templates, private networks, startup scripts, the account's standing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

from msgspec import UNSET

from fleetd.model.regions import normal_region
from fleetd.simulator import v1_body as body
from fleetd.simulator import v1_json as form
from fleetd.simulator.catalogue import MACHINE_TYPES, REGIONS, Template
from fleetd.simulator.records import EventRecord, NetworkRecord, Refusal, ScriptRecord, SnapshotRecord
from fleetd.simulator.v1_call import V1Call, arranged, by_time, listed
from fleetd.simulator.v1_pages import Paging, Sorting
from fleetd.simulator.wire import Answer, json_answer


class SnapshotQuery(Paging, kw_only=True):
    """GET /snapshots."""

    order_by: Literal["dtCreated", "name"] = "dtCreated"
    machine_id: str | None = None


class OsTemplateQuery(Paging, kw_only=True):
    """GET /os-templates."""

    order_by: Literal["name"] = "name"
    name: str | None = None


class NamedQuery(Paging, kw_only=True):
    """GET /startup-scripts, and what others have in common with it."""

    order_by: Literal["dtCreated", "name"] = "dtCreated"
    name: str | None = None


class CustomTemplateQuery(NamedQuery, kw_only=True):
    """GET /custom-templates."""

    machine_id: str | None = None


class NetworkQuery(NamedQuery, kw_only=True):
    """GET /private-networks."""

    region: str | None = None


class PublicIpQuery(Paging, kw_only=True):
    """GET /public-ips."""

    order_by: Literal["ip"] = "ip"


def snapshots(call: V1Call) -> Answer:
    """GET /snapshots."""
    query = body.read_query(SnapshotQuery, call.request)
    found = [s for _, s in call.world.snapshots() if query.machine_id in {None, s.machine_id}]
    keys = {"name": lambda s: s.name, "dtCreated": lambda s: by_time(s.created)}
    return arranged(found, query, Sorting(keys[query.order_by], lambda s: s.id), form.snapshot)


def snapshot(call: V1Call) -> Answer:
    """GET /snapshots/{id}."""
    return json_answer(200, form.snapshot(call.world.find_snapshot(call.id)[1]), executed=True)


def create_snapshot(call: V1Call) -> Answer:
    """POST /snapshots."""
    wanted = body.read_body(body.NewSnapshot, call.request)
    return _snapshot_answer(call, call.world.snapshot(wanted.machine_id, wanted.name))


def rename_snapshot(call: V1Call) -> Answer:
    """PUT /snapshots/{id}."""
    wanted = body.read_body(body.Named, call.request)
    _, snapshot = call.world.find_snapshot(call.id)
    snapshot.name = snapshot.name if wanted.name is UNSET else wanted.name
    return json_answer(200, form.snapshot(snapshot), executed=True)


def delete_snapshot(call: V1Call) -> Answer:
    """DELETE /snapshots/{id}."""
    body.read_body(body.Parameters, call.request)
    return _snapshot_answer(call, call.world.drop_snapshot(call.id))


def restore_snapshot(call: V1Call) -> Answer:
    """POST /snapshots/{id}/restore."""
    wanted = body.read_body(body.Restore, call.request)
    answer = call.world.restore_snapshot(call.id)
    if wanted.create_snapshot_before_restore:
        call.world.snapshot(answer[0].machine_id, "before restore")
    return _snapshot_answer(call, answer)


def os_templates(call: V1Call) -> Answer:
    """GET /os-templates."""
    query = body.read_query(OsTemplateQuery, call.request)
    found = [t for t in call.world.state.templates.values() if t.team_id is None and query.name in {None, t.label}]
    return listed(_template_forms(call, found), query, lambda f: str(f[query.order_by]))


def custom_templates(call: V1Call) -> Answer:
    """GET /custom-templates."""
    query = body.read_query(CustomTemplateQuery, call.request)
    found = [
        template
        for template in call.world.state.templates.values()
        if template.team_id is not None
        and query.name in {None, template.label}
        and query.machine_id in {None, template.parent_machine_id}
    ]
    return listed(_template_forms(call, found), query, lambda f: str(f[query.order_by]))


def custom_template(call: V1Call) -> Answer:
    """GET /custom-templates/{id}."""
    found = _own_template(call)
    return json_answer(200, _template_forms(call, [found])[0], executed=True)


def rename_custom_template(call: V1Call) -> Answer:
    """PUT /custom-templates/{id}."""
    wanted = body.read_body(body.Named, call.request)
    found = _own_template(call)
    if wanted.name is not UNSET:
        found = replace(found, label=wanted.name)
        call.world.state.templates[found.id] = found
    return json_answer(200, _template_forms(call, [found])[0], executed=True)


def delete_custom_template(call: V1Call) -> Answer:
    """DELETE /custom-templates/{id}."""
    body.read_body(body.Parameters, call.request)
    found = _own_template(call)
    answer = _template_forms(call, [found])[0]
    del call.world.state.templates[found.id]
    return json_answer(200, answer, executed=True)


def networks(call: V1Call) -> Answer:
    """GET /private-networks."""
    query = body.read_query(NetworkQuery, call.request)
    found: list[NetworkRecord] = [
        n
        for n in call.world.state.networks.values()
        if query.name in {None, n.name} and query.region in {None, n.region}
    ]
    return listed([form.network(n) for n in found], query, lambda n: str(n[query.order_by]))


def network(call: V1Call) -> Answer:
    """GET /private-networks/{id}."""
    return json_answer(200, form.network(call.world.account.network(call.id)), executed=True)


def rename_network(call: V1Call) -> Answer:
    """PUT /private-networks/{id}."""
    wanted = body.read_body(body.Named, call.request)
    found = call.world.account.network(call.id)
    found.name = found.name if wanted.name is UNSET else wanted.name
    return json_answer(200, form.network(found), executed=True)


def delete_network(call: V1Call) -> Answer:
    """DELETE /private-networks/{id}."""
    body.read_body(body.Parameters, call.request)
    return json_answer(200, form.network(call.world.account.drop_network(call.id)), executed=True)


def create_network(call: V1Call) -> Answer:
    """POST /private-networks."""
    wanted = body.read_body(body.NewNetwork, call.request)
    return json_answer(200, form.network(call.world.account.add_network(wanted.name, wanted.region)), executed=True)


def scripts(call: V1Call) -> Answer:
    """GET /startup-scripts."""
    query = body.read_query(NamedQuery, call.request)
    found = [s for s in call.world.state.scripts.values() if query.name in {None, s.name}]
    return listed([_script(call, s) for s in found], query, lambda s: str(s[query.order_by]))


def script(call: V1Call) -> Answer:
    """GET /startup-scripts/{id}."""
    return json_answer(200, _script(call, call.world.account.script(call.id)), executed=True)


def change_script(call: V1Call) -> Answer:
    """PUT /startup-scripts/{id}."""
    wanted = body.read_body(body.ChangedScript, call.request)
    found = call.world.account.script(call.id)
    found.name = found.name if wanted.name is UNSET else wanted.name
    found.text = found.text if wanted.script is UNSET else wanted.script
    found.run_once = found.run_once if wanted.is_run_once is UNSET else wanted.is_run_once
    found.enabled = found.enabled if wanted.is_enabled is UNSET else wanted.is_enabled
    return json_answer(200, _script(call, found), executed=True)


def delete_script(call: V1Call) -> Answer:
    """DELETE /startup-scripts/{id}."""
    body.read_body(body.Parameters, call.request)
    found = call.world.account.script(call.id)
    answer = _script(call, found)
    call.world.account.drop_script(call.id)
    return json_answer(200, answer, executed=True)


def create_script(call: V1Call) -> Answer:
    """POST /startup-scripts."""
    wanted = body.read_body(body.NewScript, call.request)
    made = call.world.account.add_script(wanted.name, wanted.script, run_once=wanted.is_run_once)
    return json_answer(200, _script(call, made), executed=True)


def assign_script(call: V1Call) -> Answer:
    """POST /startup-scripts/{id}/assign."""
    wanted = body.read_body(body.OfMachine, call.request)
    script = call.world.assign_script(call.id, wanted.machine_id, assign=True)
    return json_answer(200, _script(call, script), executed=True)


def unassign_script(call: V1Call) -> Answer:
    """POST /startup-scripts/{id}/unassign."""
    wanted = body.read_body(body.OfMachine, call.request)
    script = call.world.assign_script(call.id, wanted.machine_id, assign=False)
    return json_answer(200, _script(call, script), executed=True)


def session(call: V1Call) -> Answer:
    """GET /auth/session."""
    body.read_query(body.Parameters, call.request)
    return json_answer(200, {"user": {"id": "u1"}, "team": {"id": "t1", "maxMachines": 1000}}, executed=True)


def account(call: V1Call) -> Answer:
    """GET /billing/account-standing."""
    body.read_query(body.Parameters, call.request)
    standing = {"isInGoodStanding": True, "hasPaymentMethod": True, "isAdminLocked": False, "messages": []}
    return json_answer(200, standing, executed=True)


def public_ips(call: V1Call) -> Answer:
    """GET /public-ips: the static addresses of the account, with the machine that each is assigned to."""
    query = body.read_query(PublicIpQuery, call.request)
    rows = [
        {"ip": record.public_ip, "region": record.region, "assignedToMachineId": record.id}
        for record in call.world.machines.values()
        if record.gone is None and record.public_ip is not None and record.public_ip_type == "static"
    ]
    return listed(rows, query, lambda row: str(row["ip"]))


def _own_template(call: V1Call) -> Template:
    found = call.world.state.templates.get(call.id)
    if found is None or found.team_id is None:
        raise Refusal("Custom template not found", subject="template", missing=True)
    return found


def _snapshot_answer(call: V1Call, done: tuple[SnapshotRecord, EventRecord]) -> Answer:
    snapshot, event = done
    event_form = form.event(event, call.world.clock, call.world.state.t)
    return json_answer(200, {"data": form.snapshot(snapshot), "event": event_form}, executed=True)


class AvailabilityQuery(body.Parameters, kw_only=True):
    """What is asked for; both are required."""

    machine_type: str
    region: str


def availability(call: V1Call) -> Answer:
    """GET /machine-availability: whether such a machine can be had in a region now."""
    asked = body.read_query(AvailabilityQuery, call.request)
    region = normal_region(asked.region)
    if region not in REGIONS:
        raise Refusal("Invalid region", subject="region")
    if asked.machine_type not in MACHINE_TYPES:
        raise Refusal("Invalid machine type", subject="machineType")
    t = call.world.advance()
    key = (region, asked.machine_type)
    sold_out = key in call.world.state.no_capacity or call.plan.sold_out(*key, t)
    return json_answer(200, {"available": not sold_out}, executed=True)


def _template_forms(call: V1Call, templates: Iterable[Template]) -> list[dict[str, Any]]:
    t, sold_out = call.world.advance(), call.world.state.no_capacity

    def available(label: str) -> bool:
        return any((r, label) not in sold_out and not call.plan.sold_out(r, label, t) for r in REGIONS)

    return [form.template(template, available) for template in templates]


def _script(call: V1Call, script: ScriptRecord) -> dict[str, Any]:
    users = [record.id for record in call.world.machines.values() if record.script_id == script.id]
    return form.script(script, users)
