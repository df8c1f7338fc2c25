"""Holds and freezes as sentences; their other words are ``model.vetoes``."""

from __future__ import annotations

from datetime import datetime

from fleetd.model.reasons import VetoKind
from fleetd.model.report import VetoReport
from fleetd.model.vetoes import only
from fleetd.words.quotes import clause
from fleetd.words.times import clock, span


def veto_sentence(veto: VetoReport, now: datetime) -> str:
    """A hold or freeze: on what, by whom, why, and until when."""
    ends = veto.expires_at
    left = f", for another {span(ends - now)}" if ends > now else ""
    what = "everything" if veto.subject is None else veto.subject
    if veto.keeps_off:
        done = f"keeps {what} from being started"
    else:
        frozen = f"has frozen {'fleet ' if veto.subject else ''}{what}"
        done = (f"holds {what}" if veto.kind == VetoKind.HOLD else frozen) + only(veto.verbs)
    return f"{veto.actor} {done} until {clock(ends)}{left}: {clause(veto.reason)}."
