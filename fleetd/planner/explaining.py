"""A status document in sentences: how a fleet or a machine stands, what is not being done, and what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from fleetd.model.plan import FleetView, NextChange, Skip, Unlike
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.draft import only_words
from fleetd.planner.sentences import change_sentence, clock, fleet_sentence, sentence, span, unlike_sentence
from fleetd.planner.standing import standing_sentence

Document = Mapping[str, Any]

_COUNTS = ("target", "configured_target", "window", "up", "rising", "falling", "down", "unknown", "intents")


def explain_fleet(status: Document, name: str, now: datetime) -> list[str]:
    """How a fleet stands, what is under way, what is not being done and why, and what its windows bring next."""
    fleet = status["fleets"][name]
    view = FleetView(
        **{key: fleet[key] for key in _COUNTS},
        parked=bool(fleet.get("parked")),
        leaving=fleet.get("leaving") or 0,
        no_effect=fleet.get("no_effect") or {},
    )
    lines = [*doubts(status, now), fleet_sentence(name, view, doubted=_doubted(status) is not None)]
    if view.parked:
        lines.append("The open window parks: idle machines are stopped, and nothing is started or created.")
    lines += _missing(status, name, view)
    lines += [unlike_sentence(Unlike(**one)) for one in fleet.get("unlike") or ()]
    lines += _next(fleet, now)
    if fleet.get("hourly") is not None:
        cap = f" The cap over all fleets is ${status['max_hourly_cost']}." if status.get("max_hourly_cost") else ""
        lines.append(f"It costs ${fleet['hourly']} an hour now.{cap}")
    mine = _owned(status, name)
    moving = [m for m in mine if m["transition"] is not None]
    lines += [f"{m['name']}: {standing_sentence(m, fleet, now)}" for m in moving]
    lines += [_blocked(b, now) for b in status["blocked"] if b["fleet"] == name]
    return [*lines, *_vetoes(status, name, {m["id"] for m in mine} | {m["name"] for m in mine}, now)]


def explain_machine(status: Document, machine: Document, now: datetime) -> list[str]:
    """Why a machine is in its state, what stands in its way, and what comes next."""
    fleet = status["fleets"].get(machine["fleet"])
    lasts = f" for {span(now - datetime.fromisoformat(machine['state_since']))}" if machine.get("state_since") else ""
    place = f", in fleet {machine['fleet']}" if machine["owned"] else ""
    before = f", {machine['former_name']} before" if machine.get("former_name") else ""
    name = f"{machine['name']} ({machine['id'] or 'no id yet'}{before})"
    was = "was" if _doubted(status) is not None else "is"
    lines = [*doubts(status, now), f"{name} {was} {machine['state']}{lasts}{place}."]
    lines.append(standing_sentence(machine, fleet, now))
    if not machine["owned"] or fleet is None:
        return lines
    if machine.get("unconfirmed"):
        lines.append(confirmation_words(machine["unconfirmed"]))
    if machine.get("turned_outside"):
        lines.append(
            f"Somebody else has turned it {machine['turned_outside']} times within an hour, a script or another "
            "daemon: fleetd's own calls for it grow apart."
        )
    lines += _activity(machine, now)
    about = [b for b in status["blocked"] if b["machine"] == machine["id"]]
    lines += [_blocked(b, now) for b in about]
    lines += _vetoes(status, machine["fleet"], {machine["id"], machine["name"]}, now)
    if machine["phase"] == "down" and not about and machine["transition"] is None:
        lines.append(_why_not_started(status, machine, fleet, now))
    return [*lines, *_next(fleet, now)]


def confirmation_words(code: str) -> str:
    """What it means for a machine that nobody has confirmed it."""
    if code == Reason.RECOVERED:
        return (
            "It is recovered: its name says that fleetd made it, and this journal does not know of that. It is "
            "counted, started and stopped, and never destroyed before `fleetd adopt` confirms it."
        )
    return (
        "A pattern of adopt has taken it: it is counted, started and stopped, and never destroyed before "
        "`fleetd adopt` confirms it, or adopt has its whole name or id."
    )


def veto_sentence(veto: Document, now: datetime) -> str:
    """A hold or freeze of the status document: on what, by whom, why, and until when."""
    ends = datetime.fromisoformat(veto["expires_at"])
    verbs = veto.get("verbs") or ()
    left = f", for another {span(ends - now)}" if ends > now else ""
    until = f"until {clock(ends)}{left}: {veto['reason']}."
    words = only_words(verbs)
    only = f" ({words})" if words else ""
    if veto["kind"] == "hold":
        if list(verbs) == [Verb.START]:
            return f"{veto['actor']} keeps {veto['subject']} off {until}"
        return f"{veto['actor']} holds {veto['subject']}{only} {until}"
    what = "everything" if veto["subject"] is None else f"fleet {veto['subject']}"
    return f"{veto['actor']} has frozen {what}{only} {until}"


def _vetoes(status: Document, fleet: str, machines: set[str], now: datetime) -> list[str]:
    return [
        veto_sentence(v, now)
        for v in status.get("vetoes", ())
        if (
            v["subject"] in {None, fleet} if v["kind"] == "freeze" else (v.get("machine") or v["subject"]) in machines
        )
    ]


def _missing(status: Document, name: str, view: FleetView) -> list[str]:
    """What becomes of a fleet that is not where it should be, as far as nothing else that is said tells it."""
    lines = []
    seen = status.get("observation") or {}
    short = 0 if view.parked else view.target - view.have - view.unknown
    moving = view.rising or view.falling or view.intents or any(m["transition"] for m in _owned(status, name))
    doubtful = seen.get("doubted_since") or seen.get("rejected") is not None or not seen.get("complete", True)
    if short > 0 and not (moving or doubtful or any(b["fleet"] == name for b in status["blocked"])):
        are, them = ("machine is", "it") if short == 1 else ("machines are", "them")
        lines.append(f"{short} {are} missing: the next pass starts or creates {them}.")
    if not (view.converged or status["daemon"]["running"]):
        lines.append(
            "No daemon runs, so nothing is done about it: `fleetd run` starts one, `fleetd apply` does it once."
        )
    return lines


def _owned(status: Document, fleet: str) -> list[Document]:
    return [m for m in status["machines"] if m["fleet"] == fleet and m["owned"]]


def _next(fleet: Document, now: datetime) -> list[str]:
    change = fleet.get("next")
    if change is None:
        return []
    at = datetime.fromisoformat(change["at"])
    return [change_sentence(NextChange(at, change["target"], change["window"], change["parked"]), now)]


def _activity(machine: Document, now: datetime) -> list[str]:
    idle = machine.get("idle")
    if machine["phase"] != "up" or idle is None:
        return []
    evidence = f" ({idle['evidence']})" if idle.get("evidence") else ""
    if idle["verdict"] == "idle":
        since = f" for {span(now - datetime.fromisoformat(idle['since']))}" if idle.get("since") else ""
        return [f"It has been idle{since}{evidence}."]
    if idle["verdict"] == "active":
        return [f"It is in use{evidence}."]
    return [f"Nobody can tell whether it is in use, which counts as used{evidence}."]


def _why_not_started(status: Document, machine: Document, fleet: Document, now: datetime) -> str:
    up = f"{fleet['up']} of {fleet['target']} up"
    coming = fleet["rising"] + fleet["intents"]
    if fleet["up"] + coming >= fleet["target"]:
        more = f" and {coming} on the way" if coming else ""
        return f"It is not needed: {machine['fleet']} has {up}{more}. It is started again when one is missing."
    general = [b for b in status["blocked"] if b["fleet"] == machine["fleet"] and b["machine"] is None]
    if general:
        return f"{machine['fleet']} has {up}. {_blocked(general[0], now)}"
    return f"{machine['fleet']} has {up}; the next pass decides about it."


def _doubted(status: Document) -> datetime | None:
    since = (status.get("observation") or {}).get("doubted_since")
    return None if since is None else datetime.fromisoformat(since)


def _blocked(blocked: Document, now: datetime) -> str:
    until = blocked["until"]
    skip = Skip(
        blocked["fleet"],
        None if blocked["verb"] is None else Verb(blocked["verb"]),
        Reason(blocked["reason"]),
        machine=blocked["machine"],
        name=blocked["name"] or "",
        until=None if until is None else datetime.fromisoformat(until),
        detail=blocked["detail"] or "",
        count=blocked["count"],
        since=None if blocked.get("since") is None else datetime.fromisoformat(blocked["since"]),
    )
    return sentence(skip, now)


def doubts(status: Document, now: datetime) -> list[str]:
    """What makes the picture itself doubtful; it comes first."""
    lines = []
    daemon, observation = status["daemon"], status.get("observation") or {}
    since = _doubted(status)
    if since is not None:
        why = f": {observation['doubt']}" if observation.get("doubt") else ""
        believed = observation.get("believed_at")
        then = "Nothing has been believed yet"
        if believed is not None:
            then = f"What follows is as of {clock(datetime.fromisoformat(believed))}"
        lines.append(f"Not believed since {clock(since)}, for {span(max(now - since, timedelta(0)))}{why}. {then}.")
    elif daemon.get("error") is not None:
        lines.append(f"The last pass failed, so this may be old: {daemon['error']}.")
    if daemon.get("last_fault") is not None and daemon.get("error") is None:
        fault = daemon["last_fault"]
        lines.append(f"A fault in fleetd's own code was met at {fault['at']} ({fault['where']}): {fault['error']}.")
    if observation.get("rejected") is not None:
        lines.append(f"Nothing is decided at the moment: {observation['rejected']}.")
    elif observation and not observation.get("complete", True):
        lines.append("Nothing is decided at the moment: the listing is not whole.")
    if daemon.get("config_fault"):
        fault = " ".join(str(daemon["config_fault"]).split())
        lines.append(f"A reload was rejected, and the old config is in force: {fault}.")
    return lines
