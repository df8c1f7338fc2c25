"""Codes, states and log lines in words for people. Whatever came from outside is escaped here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from rich.text import Text

from fleetd.model.machine import Phase
from fleetd.ops.escape import printable
from fleetd.words.money import digits
from fleetd.words.phases import PHASES
from fleetd.words.reasons import reason_words
from fleetd.words.times import span

SYMBOLS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "create": ("+", "green"),
        "start": (">", "green"),
        "stop": ("-", "yellow"),
        "restart": ("~", "yellow"),
        "update": ("~", "cyan"),
        "destroy": ("x", "red"),
    }
)
"""A sign and a style for each verb, as in plan's output."""

STYLES: Mapping[str, str] = MappingProxyType(
    {
        Phase.UP: "green",
        Phase.RISING: "yellow",
        Phase.FALLING: "magenta",
        Phase.DOWN: "bright_black",
        Phase.UNKNOWN: "red",
    }
)
"""A style for each phase."""

EVENTS: Mapping[str, str] = MappingProxyType(
    {
        "daemon.started": "fleetd looks at the machines, and compares them with the config",
        "machine.create_requested": "{name} is being created: {reason}",
        "machine.start_requested": "{name} is being started: {reason}",
        "machine.stop_requested": "{name} is being stopped: {reason}",
        "machine.restart_requested": "{name} is being restarted: {reason}",
        "machine.destroy_requested": "{name} is being destroyed: {reason}",
        "machine.update_requested": "{name} is being updated: {reason}",
        "machine.became_ready": "{name} is up after {duration_s}",
        "machine.became_off": "{name} is off after {duration_s}",
        "machine.became_gone": "{name} is gone after {duration_s}",
        "machine.start_failed": "{name} did not start: {error}",
        "machine.transition_timed_out": "{name} did not get there by its deadline; a person should look",
        "machine.transition_ended": "{name} did not get there: {outcome}",
        "machine.answer_lost": "the answer about {name} was lost; fleetd looks before it does anything",
        "machine.action_refused": "the provider refuses to {action} {name}: {error}",
        "machine.action_failed": "{name} could not be acted on ({error}); the next pass tries again",
        "machine.adopted": "{name} is ours, and was already there: {state}",
        "machine.changed_late": "{name} went from {was} to {became}, late, as fleetd had asked",
        "machine.changed_outside": "{name} went from {was} to {became}, and fleetd had not asked for it",
        "address.was_left": "{name} is gone, and its public address {address} may be billed on",
        "machine.was_recovered": "{name} is ours by its name alone; it is not destroyed before fleetd adopt",
        "machine.was_lookalike": "{name} ({machine}) has the name of one of ours, and is not ours; it is left alone",
        "fleet.converged": "{fleet} is at its target: {up} of {target} up",
        "fleet.left_target": "{fleet} is not at its target any more: {up} of {target} up",
        "fleet.was_blocked": "{fleet} has to wait: {reason}",
        "fleet.was_orphaned": "{count} machines made for {fleet} belong to no fleet of this config: {names}",
        "capacity.backed_off": "{machine_type} did not come up in {region}, mostly for want of capacity; tried later",
        "intent.settled": "{name} was created although the answer was lost; it is taken over",
        "intent.lost": "{name} never appeared; another one takes its place",
        "observation.rejected": "the listing contradicts itself; nothing is decided on it",
        "observation.was_partial": "the listing is not whole; nothing is decided on it",
        "provider.unavailable": "the provider does not answer ({error}); fleetd keeps trying, and does nothing",
        "provider.key_refused": "the provider refuses the key",
        "provider.recovered": "the provider answers again",
        "config.reloaded": "the new config is in force",
        "config.reload_rejected": "the new config has faults; the old one stays in force",
        "daemon.lock_lost": "fleetd ends: {error}",
        "journal.failed": "the state directory cannot be written: {error}",
    }
)
"""Log lines that a newcomer is shown, with their keys filled in."""


def sign_of(phase: str) -> tuple[str, str]:
    """A phase's sign and style; those of the unknown for one that is not known here."""
    known = phase if phase in PHASES else Phase.UNKNOWN
    return PHASES[known][0], STYLES[known]


def state_text(state: str, phase: str) -> Text:
    """A state with the sign and the colour of what it means."""
    sign, style = sign_of(phase)
    return Text(f"{sign} {printable(state)}", style=style)


def event_words(event: Mapping[str, object]) -> str | None:
    """A log line in words; None for one that would not tell a newcomer anything."""
    name = str(event.get("event", ""))
    if name not in EVENTS:
        loud = event.get("level") in {"warning", "error", "critical"}
        return printable(f"{name}: {event.get('error') or event.get('reason') or ''}".rstrip(": ")) if loud else None
    values = {key: printable(str(value)) for key, value in event.items()}
    if "reason" in event:
        values["reason"] = printable(reason_words(str(event["reason"])))
    if "duration_s" in event:
        values["duration_s"] = span(timedelta(seconds=float(str(event["duration_s"]))))
    return EVENTS[name].format_map(_Filled(values))


def money(amount: Decimal | None) -> str:
    """``$2.04/h``; ``$?/h`` where a price is not known."""
    return money_change(amount).removeprefix("+")


def money_change(amount: Decimal | None) -> str:
    """``+$0.51/h``; ``$?/h`` where a price is not known."""
    if amount is None:
        return "$?/h"
    return f"{'-' if amount < 0 else '+'}${digits(abs(amount))}/h"


def since(at: datetime | None, now: datetime) -> str:
    """How long ago it was: ``12 min``; ``-`` where it is not known."""
    return "-" if at is None else span(now - at)


def instant(at: datetime, now: datetime) -> str:
    """One that is past: ``12:30:00 UTC (12 min ago)``."""
    return f"{_day(at, now)}{at:%H:%M:%S} UTC ({span(now - at)} ago)"


def until(at: datetime, now: datetime) -> str:
    """One that is to come: ``12:30:00 UTC (in 12 min)``."""
    return f"{_day(at, now)}{at:%H:%M:%S} UTC ({f'in {span(at - now)}' if at > now else 'past'})"


def _day(at: datetime, now: datetime) -> str:
    return "" if at.date() == now.date() else f"{at:%Y-%m-%d} "


class _Filled(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"
