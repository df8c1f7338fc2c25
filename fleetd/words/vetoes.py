"""Holds and freezes: what is forbidden, by whom, why, and for how long."""

from __future__ import annotations

from datetime import datetime

from fleetd.model.report import VetoReport
from fleetd.planner.draft import only_words
from fleetd.words.quotes import clause
from fleetd.words.times import clock, span


def veto_title(veto: VetoReport) -> str:
    """What it forbids: ``freeze on training (stop only)``, ``hold on x``, or that ``x is not to be started``."""
    subject = "everything" if veto.subject is None else veto.subject
    if veto.keeps_off:
        return f"{subject} is not to be started"
    return f"{veto.kind} on {subject}{only(veto)}"


def only(veto: VetoReport) -> str:
    """`` (stop only)``; nothing where everything is forbidden."""
    words = only_words(veto.verbs)
    return f" ({words})" if words else ""


def veto_sentence(veto: VetoReport, now: datetime) -> str:
    """A hold or freeze: on what, by whom, why, and until when."""
    ends = veto.expires_at
    left = f", for another {span(ends - now)}" if ends > now else ""
    until = f"until {clock(ends)}{left}: {clause(veto.reason)}."
    if veto.kind == "hold":
        if veto.keeps_off:
            return f"{veto.actor} keeps {veto.subject} from being started {until}"
        return f"{veto.actor} holds {veto.subject}{only(veto)} {until}"
    what = "everything" if veto.subject is None else f"fleet {veto.subject}"
    return f"{veto.actor} has frozen {what}{only(veto)} {until}"
