"""A hold or freeze in words: whatever shows one takes them from here.

The end comes as text: each surface has its own way to write an instant.
"""

from __future__ import annotations

from collections.abc import Collection

from fleetd.model.journal import Hold
from fleetd.model.reasons import Verb
from fleetd.model.report import MachineReport, VetoReport

Veto = Hold | VetoReport


def only(verbs: Collection[str]) -> str:
    """`` (destroy and stop only)``; nothing where every verb is forbidden, or none is named."""
    return f" ({' and '.join(sorted(verbs))} only)" if 0 < len(verbs) < len(Verb) else ""


def veto_title(veto: Veto) -> str:
    """What it forbids: ``freeze on training (stop only)``, ``hold on x``, ``x is kept from being started``."""
    what = "everything" if veto.subject is None else veto.subject
    return f"{what} is kept from being started" if veto.keeps_off else f"{veto.kind} on {what}{only(veto.verbs)}"


def veto_ending(veto: Veto, until: str) -> str:
    """Behind that title: ``by ada: moving data, until 12:30 UTC``."""
    return f"by {veto.actor}: {veto.reason}, until {until}"


def veto_detail(veto: Veto) -> str:
    """Of a skip, which has the kind and the end by itself: ``ada: moving data (stop only)``."""
    return f"{veto.actor}: {veto.reason}{'' if veto.keeps_off else only(veto.verbs)}"


def veto_evidence(veto: Veto) -> str:
    """Of a history line, which has the kind, the subject and the actor by itself."""
    parts = (veto.reason, only(veto.verbs).strip(" ()"), f"until {veto.expires_at:%Y-%m-%d %H:%M:%S} UTC")
    return "; ".join(part for part in parts if part)


def held(machine: MachineReport) -> str:
    """How a hold shows in the state of its machine: ``held (stop only)``, ``kept off``."""
    return "kept off" if machine.kept_off else f"held{only(machine.hold.verbs if machine.hold else ())}"
