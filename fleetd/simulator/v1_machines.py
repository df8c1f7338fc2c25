"""The v1 API's machines, their events and their users."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import UNSET

from fleetd.model.regions import normal_region
from fleetd.simulator import v1_body as body
from fleetd.simulator import v1_json as form
from fleetd.simulator.disks import busy
from fleetd.simulator.lifecycle import begin_nothing
from fleetd.simulator.records import EventRecord, MachineRecord, Refusal
from fleetd.simulator.v1_call import V1Call, arranged, by_time, listed, page_answer
from fleetd.simulator.v1_pages import Paging, Sorting, cut, unending
from fleetd.simulator.views import endless, list_view, page_shift, show_view, stranger
from fleetd.simulator.wire import Answer, json_answer


def _kept(name: str, make: Callable[[MachineRecord], str]) -> Callable[[MachineRecord], str]:
    """Made once for each record: a large account is sorted for each of its pages."""

    def get(record: MachineRecord) -> str:
        found: str | None = record.cache.get(name)
        if found is None:
            found = record.cache[name] = make(record)
        return found

    return get


_NUMBER = _kept("v1.number", lambda record: f"{record.internal_id:012}")
_KEYS: Mapping[str, Callable[[MachineRecord], str]] = {
    "dtCreated": _kept("v1.created", lambda record: by_time(record.created)),
    "name": lambda record: record.name,
    "state": lambda record: record.state,
}


class MachineQuery(Paging, kw_only=True):
    """GET /machines."""

    order_by: Literal["dtCreated", "name", "state"] = "dtCreated"
    name: str | None = None
    region: str | None = None
    agent_type: str | None = None
    machine_type: str | None = None


class EventQuery(Paging, kw_only=True):
    """GET /machine-events."""

    order_by: Literal["dtCreated"] = "dtCreated"
    machine_id: str | None = None


class AccessorQuery(Paging, kw_only=True):
    """GET /machines/{id}/accessors."""

    order_by: Literal["id"] = "id"


def list_machines(call: V1Call) -> Answer:
    """GET /machines."""
    query = body.read_query(MachineQuery, call.request)
    sorting: Sorting[MachineRecord] = Sorting(_KEYS[query.order_by], _NUMBER)

    def arrange(found: Sequence[MachineRecord]) -> list[MachineRecord]:
        if query.order_by != "dtCreated":
            return sorting.arrange(found, query.order)
        before, arranged = call.world.arranged.get(query.order, ((), []))
        if before != found:  # the machines are the same ones for most pages, and no date of theirs changes
            arranged = sorting.arrange(found, query.order)
            call.world.arranged[query.order] = found, arranged
        return list(arranged)

    records = list_view(call.world, call.decision.views, call.plan.rng, arrange)
    filtered = any(w is not None for w in (query.name, query.region, query.agent_type, query.machine_type))
    wanted = [
        record
        for record in (records if filtered else ())
        if query.name in {None, record.name}
        and (query.region is None or normal_region(query.region) == record.region)
        and query.agent_type in {None, record.template.agent_type}
        and query.machine_type in {None, record.machine_type}
    ]
    wanted = wanted if filtered else records
    page = cut(wanted, query, sorting, shift=page_shift(call.decision.views))
    rule = endless(call.decision.views)
    if rule is not None and wanted:
        way = rule.way
        page = unending(page, query, sorting, way, lambda n: stranger(wanted[0], n))
    return page_answer([form.machine_raw(r, call.world.clock) for r in page.items], page.next_page)


def show(call: V1Call) -> Answer:
    """GET /machines/{id}."""
    body.read_query(body.Parameters, call.request)
    record = show_view(call.world.shown(call.id), call.decision.views)
    return json_answer(200, form.machine_raw(record, call.world.clock), executed=True)


def create(call: V1Call) -> Answer:
    """POST /machines."""
    new = body.new_machine(body.read_body(body.Create, call.request))
    record = call.world.create(new, call.decision.fate)
    return _accepted(call, record, record.event, made=record.id)


def start(call: V1Call) -> Answer:
    """PATCH /machines/{id}/start."""
    body.read_body(body.Parameters, call.request)
    return _accepted_or_busy(call, call.world.start(call.id, call.decision.fate))


def stop(call: V1Call) -> Answer:
    """PATCH /machines/{id}/stop."""
    body.read_body(body.Parameters, call.request)
    return _accepted_or_busy(call, call.world.stop(call.id, call.decision.fate))


def restart(call: V1Call) -> Answer:
    """PATCH /machines/{id}/restart."""
    body.read_body(body.Parameters, call.request)
    return _accepted(call, call.world.shown(call.id), call.world.restart(call.id, call.decision.fate))


def destroy(call: V1Call) -> Answer:
    """DELETE /machines/{id}."""
    body.read_body(body.Parameters, call.request)
    record = call.world.shown(call.id)
    return _accepted(call, record, call.world.destroy(call.id, call.decision.fate))


def update(call: V1Call) -> Answer:
    """PUT /machines/{id}."""
    wanted = body.read_body(body.Update, call.request)
    record = call.world.shown(call.id)
    changes = body.changes_of(call.world.state, record, wanted)
    if call.decision.fate.without_effect:
        return _accepted(call, record, begin_nothing(call.world.state, record, "vm-upgrade", call.decision.fate))
    if wanted.machine_type is not UNSET and wanted.machine_type != record.machine_type:
        event = call.world.upgrade(call.id, wanted.machine_type)
        call.world.update(call.id, changes)
        return _accepted(call, record, event)
    call.world.update(call.id, changes)
    # the types have an event for every update, and no other name that would do
    event = call.world.state.open_event(record, "vm-upgrade")
    call.world.state.close_event(record, event)
    return _accepted(call, record, event)


def events(call: V1Call) -> Answer:
    """GET /machine-events: of one machine, or of all."""
    query = body.read_query(EventQuery, call.request)
    t = call.world.advance()
    sorting: Sorting[EventRecord] = Sorting(lambda e: by_time(e.created), lambda e: f"{e.number:012}")
    feed = [e for e in call.world.state.feed if query.machine_id in {None, e.machine_id}]
    return arranged(feed, query, sorting, lambda e: form.event(e, call.world.clock, t))


def event(call: V1Call) -> Answer:
    """GET /machine-events/{id}."""
    t = call.world.advance()
    found = next((e for e in call.world.state.feed if e.handle == call.id), None)
    if found is None:
        raise Refusal("Machine event not found", subject="event", missing=True)
    return json_answer(200, form.event(found, call.world.clock, t), executed=True)


def accessors(call: V1Call) -> Answer:
    """GET /machines/{id}/accessors."""
    query = body.read_query(AccessorQuery, call.request)
    users = [call.world.state.users[user_id] for user_id in call.world.shown(call.id).accessors]
    return listed([form.accessor(user) for user in users], query, lambda a: str(a["user"]["id"]))


def accessor(call: V1Call) -> Answer:
    """GET /machines/{id}/accessors/{userId}."""
    if call.other_id not in call.world.shown(call.id).accessors:
        raise Refusal("Accessor not found", subject="machine", missing=True)
    return json_answer(200, form.accessor(call.world.state.users[call.other_id]), executed=True)


def add_accessor(call: V1Call) -> Answer:
    """POST /machines/{id}/accessors."""
    wanted = body.read_body(body.OfUser, call.request)
    user = call.world.set_access(call.id, wanted.user_id, enable=True)
    return json_answer(200, form.accessor(user), executed=True)


def remove_accessor(call: V1Call) -> Answer:
    """DELETE /machines/{id}/accessors/{userId}."""
    body.read_body(body.Parameters, call.request)
    if call.other_id not in call.world.shown(call.id).accessors:
        raise Refusal("Accessor not found", subject="machine", missing=True)
    user = call.world.set_access(call.id, call.other_id, enable=False)
    return json_answer(200, form.accessor(user, call.world.clock.text(call.world.state.t)), executed=True)


def _accepted(call: V1Call, record: MachineRecord, event: EventRecord | None, *, made: str | None = None) -> Answer:
    t, clock = call.world.state.t, call.world.clock
    followed = form.event(event, clock, t) if event is not None else None
    answer = {"data": form.machine_raw(record, clock), "event": followed}
    return json_answer(200, answer, executed=True, machine_id=made)


def _accepted_or_busy(call: V1Call, event: EventRecord | None) -> Answer:
    record = call.world.shown(call.id)
    if event is None:
        raise busy(record)
    return _accepted(call, record, event)
